"""Receives the body of a response into a Reply, until it has ended or nothing more can come.

A finish reason need not be the last thing: a usage may follow, or the rest of a stream that sends
`stop` in every chunk. So more is waited for, but not for ever; anything new of the answer renews
that patience, and text without another end takes the end back. DONE needs an explicit end and an
answer before it.

However much comes at once, other greenlets have a turn after YIELD_AFTER seconds.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, Protocol

import gevent
import httpx2
import structlog

from shared.errors import GenerationFailed
from shared.settings import Settings
from worker import metrics
from worker.generation import TooLong
from worker.provider.finish_reasons import INCOMPLETE
from worker.provider.refusals import Refusal, RequestForm
from worker.provider.reply import Reply, Write
from worker.provider.reply_parser import ReplyParser
from worker.provider.transport import YIELD_AFTER

#: Seconds after a finish reason in which more may come: after an answer, and before any. At most
#: half of the patience with a silent provider, so that an end is never taken for a stall.
END_PATIENCE: Final = 10.0
EMPTY_PATIENCE: Final = 30.0
#: Seconds after [DONE] in which the body should end, so that its connection can be used again.
DONE_GRACE: Final = 0.5
#: Bytes that are parsed in one go.
SLICE: Final = 1 << 13

log = structlog.get_logger("provider")


class Response(Protocol):
    """A response whose head has come."""

    #: its body, as it comes
    pieces: Iterable[bytes]
    content_type: str


class Receiver:
    """Receives the responses of one process."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.answer_chars
        self._think_tags = settings.think_tags
        self._end_patience = min(END_PATIENCE, settings.stall_seconds / 2)
        self._empty_patience = min(EMPTY_PATIENCE, settings.first_token_seconds / 2)

    def receive(self, response: Response, write: Write, form: RequestForm) -> Reply:
        """Write the answer as it comes, and return the reply once it has ended as it should.

        Raises Refusal if the provider reported an error before any text that is worth another try,
        else GenerationFailed.
        """
        reply = Reply(write, self._limit, think_tags=self._think_tags)
        try:
            self._read(response.pieces, ReplyParser(reply, response.content_type, form))
            if not reply.ended:
                raise GenerationFailed("provider_cut")
        except Refusal:
            raise
        except BaseException:
            with suppress(TooLong):  # what went wrong counts, whether or not the rest has room
                reply.close()
            raise
        reply.close()
        if reply.left_out:
            metrics.LEFT_OUT.inc(reply.left_out)
            log.info("provider.left_out", images=reply.left_out)
        if not (reply.answered or reply.finish_reason in INCOMPLETE):
            raise GenerationFailed("provider_empty")
        return reply

    def _read(self, body: Iterable[bytes], parser: ReplyParser) -> None:
        """Parse the body until it ends, or until its reply has ended and nothing more comes."""
        pieces, reply, whole = iter(body), parser.reply, True
        try:
            for chunk in pieces:
                _feed(parser, chunk)
                if reply.ended and not self._read_after_end(pieces, parser):
                    break
        except httpx2.DecodingError:
            raise GenerationFailed("provider_malformed") from None
        except httpx2.TransportError:
            whole = False  # the reply was cut, unless it had ended already
        for _ in parser.end(whole=whole):
            gevent.sleep(0)

    def _read_after_end(self, pieces: Iterator[bytes], parser: ReplyParser) -> bool:
        """Read what follows an end. True if the answer goes on, so that it was no end.

        The clock runs only while the provider is waited for, not while Postgres is.
        """
        reply, until, known = parser.reply, 0.0, None
        while reply.ended:
            if known != (reply.progress, reply.done):
                known = reply.progress, reply.done
                until = time.monotonic() + self._patience(reply)
            timer = gevent.Timeout.start_new(max(0.0, until - time.monotonic()))
            try:
                chunk = next(pieces)
            except StopIteration:
                return False
            except gevent.Timeout as timeout:
                if timeout is not timer:
                    raise
                return False
            finally:
                timer.close()
            if not reply.done:  # after [DONE] nothing counts
                _feed(parser, chunk)
            if time.monotonic() > until and known == (reply.progress, reply.done):
                return False
        return True

    def _patience(self, reply: Reply) -> float:
        """Seconds for which more may come after an end."""
        if reply.done:
            return DONE_GRACE
        explained = reply.answered or reply.finish_reason in INCOMPLETE
        return self._end_patience if explained else self._empty_patience


def _feed(parser: ReplyParser, chunk: bytes) -> None:
    """Have a chunk parsed; a large one in slices, which end between two events where they can."""
    if len(chunk) <= SLICE:
        parser.feed(chunk)
        return
    at, turn_ends = 0, time.monotonic() + YIELD_AFTER
    while at < len(chunk) and not parser.reply.done:
        end = chunk.rfind(b"\n\n", at, at + SLICE) + 2
        end = end if end > at + 1 else at + SLICE
        parser.feed(chunk[at:end])
        at = end
        if time.monotonic() > turn_ends:
            gevent.sleep(0)
            turn_ends = time.monotonic() + YIELD_AFTER
