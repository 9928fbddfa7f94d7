"""Every registered attack meets the contract."""

from pydantic import TypeAdapter

from nas.attacks import ATTACKS, Apgd, AttackSettings, AutoAttack, Fgsm, Noise, Pgd, Square
from nas.testing.attacks import AttackContract


class TestPgd(AttackContract):
    registered = "pgd"
    attack = Pgd(steps=4)


class TestPgdWithRestarts(AttackContract):
    registered = "pgd"
    attack = Pgd(steps=3, restarts=2)


class TestPgdOnTheMargin(AttackContract):
    registered = "pgd"
    attack = Pgd(steps=4, loss="margin")


class TestApgd(AttackContract):
    registered = "apgd"
    attack = Apgd(steps=8)


class TestApgdOnDlr(AttackContract):
    registered = "apgd"
    attack = Apgd(steps=5, loss="dlr", restarts=2)


class TestTargetedApgd(AttackContract):
    registered = "apgd"
    attack = Apgd(steps=5, loss="targeted_dlr", targets=3)


class TestSquare(AttackContract):
    registered = "square"
    attack = Square(queries=30, restarts=2)


class TestNoise(AttackContract):
    registered = "noise"
    attack = Noise()


class TestAutoAttack(AttackContract):
    registered = "autoattack"
    attack = AutoAttack(steps=4, queries=10)
    images_are_independent = False
    moves_what_stands = False


class TestFgsm(AttackContract):
    registered = "fgsm"
    attack = Fgsm()


def test_every_registered_attack_has_a_contract_case() -> None:
    assert {case.registered for case in AttackContract.__subclasses__()} == set(ATTACKS)
    assert all(isinstance(case.attack, ATTACKS[case.registered]) for case in AttackContract.__subclasses__())


def test_every_registered_attack_can_be_named_in_a_config() -> None:
    for name, kind in ATTACKS.items():
        assert type(TypeAdapter(AttackSettings).validate_python({"name": name})) is kind
