"""How fast this machine trains and scores, and how long a search takes."""
