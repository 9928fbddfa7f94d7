"""Images that are made by a known map from codes: their manifold is known exactly."""

from itertools import product
from math import cos, pi

import torch
from torch import Tensor

from nas.base.seeding import make_generator
from nas.data.raw import Part, Raw
from nas.data.settings import Simulated
from nas.data.split import Split


def load_simulated(settings: Simulated, part: Part) -> Raw:
    """X = ½ + z · A, stored in 8 bits: A has orthonormal waves as rows, z lies around a centre of the image's class."""
    count = settings.images if part == "train" else settings.test_images
    generator = make_generator(settings.seed, "simulated", part)
    labels = torch.arange(count) % settings.classes
    reach = largest_code(settings)
    noise = torch.randn(count, settings.dimensions, generator=generator, dtype=torch.float64)
    z = (centres(settings)[labels] + settings.spread * noise).clamp(-1, 1) * reach
    x = 0.5 + z @ waves(settings)
    images = (255 * x).round().to(torch.uint8).view(count, 1, settings.size, settings.size)
    return Raw(Split(images, labels), tuple(f"class {index}" for index in range(settings.classes)))


def waves(settings: Simulated) -> Tensor:
    """A (D, H · W) in float64: the cosine waves of lowest frequency, but for the constant one."""
    side = settings.size
    order = sorted(product(range(side), repeat=2), key=lambda pair: (pair[0] + pair[1], pair))[
        1 : settings.dimensions + 1
    ]
    pixel = [[cos(pi * (place + 0.5) * f / side) for place in range(side)] for f in range(side)]
    rows = []
    for down, across in order:
        first, second = (torch.tensor(pixel[f], dtype=torch.float64) for f in (down, across))
        wave = first.outer(second).flatten()
        rows.append(wave / wave.norm())
    return torch.stack(rows)


def largest_code(settings: Simulated) -> float:
    """Largest coordinate of a code: no image then leaves [0, 1]."""
    return 0.5 / float(waves(settings).abs().sum(0).max())


def centres(settings: Simulated) -> Tensor:
    """Of the classes (K, D), in units of the largest code: corners of a cube, the furthest from each other first."""
    generator = make_generator(settings.seed, "simulated", "centres")
    corners = torch.tensor(list(product((-1.0, 1.0), repeat=settings.dimensions)), dtype=torch.float64)
    corners = corners[torch.randperm(len(corners), generator=generator)]
    chosen = [corners[0]]
    while len(chosen) < settings.classes:
        distances = torch.stack([(corners - one).norm(dim=1) for one in chosen]).amin(0)
        chosen.append(corners[int(distances.argmax())])
    return torch.stack(chosen) * 0.5
