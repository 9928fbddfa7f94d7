"""What a network is: built, treated, walked by hand, copied, stored and loaded here alone.

The attack (`nas.networks.view`) and the training step (`nas.networks.backprop`) walk a network's layers themselves: no
graph is built, and what is a matrix product is computed as one. There are two arithmetics with the same functions:
`images` for maps of any size, `maps` for small ones. What these do not know goes through autograd.
"""
