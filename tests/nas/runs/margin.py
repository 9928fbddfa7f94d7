"""A plugin that brings two measures, as a user would write it."""

MODULE = "margin_plugin"
PLUGIN = '''\
"""The logit margin that an attack leaves, and how far noise moves the logits."""

from nas.measures import MEASURES, Measure


def margin(attacked):
    import torch

    own = torch.nn.functional.one_hot(attacked.labels, attacked.logits.shape[1]).bool()
    kept, clean = (
        logits[own] - logits.masked_fill(own, -torch.inf).amax(1)
        for logits in (attacked.adversarial_logits, attacked.logits)
    )
    return torch.minimum(kept, clean)


def drift(attacked):
    import torch

    noise = torch.rand(attacked.images.shape, generator=attacked.generator, device=attacked.images.device)
    moved = attacked.network(attacked.images + attacked.threat.epsilon * noise) - attacked.logits
    return float(moved.abs().mean())


MEASURES["margin"] = Measure(
    "margin", "maximize", "logits", "logit margin under attack", 10.0, compute=margin, worst=-20.0, low=-float("inf")
)
MEASURES["drift"] = Measure("drift", "minimize", "logits", "drift under noise", 0.0, compute=drift, per_image=False)
'''
