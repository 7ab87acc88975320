"""All checks, in the order in which they are reported."""

from collections.abc import Callable, Iterator
from typing import Final

from doctor import environment, postgres, provider, public, redis_server, sign_in
from doctor.findings import Finding, Patient

CHECKS: Final[dict[str, Callable[[Patient], Iterator[Finding]]]] = {
    "environment": environment.check,
    "postgres": postgres.check,
    "redis": redis_server.check,
    "sign-in": sign_in.check,
    "provider": provider.check,
    "address": public.check,
}
