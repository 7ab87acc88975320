"""What a browser keeps after a sign-in is worth nothing for another account or password."""

from shared import passwords
from web.auth.known_devices import is_proof, proof


def test_a_proof_is_good_for_one_account_and_until_its_password_changes() -> None:
    ann, ben = (passwords.hashed("the same password") for _ in range(2))
    changed = passwords.hashed("another password")

    assert is_proof(proof(ann), ann)
    assert not is_proof(proof(ann), ben)
    assert not is_proof(proof(ann), changed)
    assert not is_proof(proof(ann), passwords.unmatchable())
    for nonsense in ("", "0" * 64, "ä", proof(ann)[:-1]):
        assert not is_proof(nonsense, ann)
