"""The body of a 200 response, in pieces of any size, parsed into a Reply. Pure.

It is a stream of events, or one JSON document where the server ignored `stream`. Its first
character tells which, as content types are often wrong. A web page is neither.
"""

import re
from collections.abc import Iterator
from typing import Final

from shared.errors import GenerationFailed
from shared.sse import Decoder, Gathered, LineTooLong
from worker.provider.chunks import ChunkParser
from worker.provider.json_values import LINE_LIMIT
from worker.provider.refusals import WEB_PAGE, RequestForm
from worker.provider.reply import Reply

#: Binary data inside a line. It is long, and nothing of it is text.
_BINARY: Final = re.compile(
    rb'(;base64,|[^\\]"(?:b64_json|data|image|audio|bytes)"\s*:\s*")[A-Za-z0-9+/=_-]{1024,}'
)


class ReplyParser:
    """Parses the bytes of a body into a Reply."""

    def __init__(
        self, reply: Reply, content_type: str = "", form: RequestForm | None = None
    ) -> None:
        """`form`: that of the request, which an error may be about."""
        self.reply = reply
        self._chunks = ChunkParser(reply, form)
        self._html = "html" in content_type.lower()
        self._decoder = Decoder(limit=LINE_LIMIT, errors="replace", shorten=_without_binary)
        #: whether it is a stream of events; None: only blanks have come
        self._is_stream: bool | None = None
        self._document = Gathered()

    def feed(self, chunk: bytes) -> None:
        """Take bytes of the body; after [DONE] they are ignored. Raises what ChunkParser raises."""
        reply, chunks = self.reply, self._chunks
        if not self._is_stream and not self._belongs_to_stream(chunk):
            return
        try:
            for event in self._decoder.feed(chunk):
                chunks.take(event)
                if reply.done:
                    return
        except LineTooLong:
            raise GenerationFailed("provider_malformed") from None

    def end(self, *, whole: bool) -> Iterator[None]:
        """Take the end of the body. To be run to its end; yields where others may have a turn.

        `whole`: the body ended as HTTP says. A document that was cut is malformed only because of
        the cut, so that is not raised.
        """
        if self._is_stream is not False:
            return
        try:
            yield from self._chunks.take_document(self._document.take())
        except GenerationFailed as failure:
            if whole or failure.code != "provider_malformed":
                raise

    def _belongs_to_stream(self, chunk: bytes) -> bool:
        """Whether the chunk is of a stream. One of a document is kept here."""
        if self._is_stream is None:
            begun = chunk.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            if begun == b"<" or (begun and self._html):
                raise GenerationFailed("provider_malformed", WEB_PAGE)
            self._is_stream = begun not in (b"{", b"[") if begun else None
            if self._is_stream is None:
                return True
        if self._is_stream:
            return True
        self._document.add(chunk)
        if self._document.size > LINE_LIMIT:
            self._document.add(_without_binary(self._document.take()))
            if self._document.size > LINE_LIMIT:
                raise GenerationFailed("provider_malformed")
        return False


def _without_binary(line: bytes) -> bytes:
    """A line that is too long, without the binary data in it."""
    return _BINARY.sub(rb"\1", line)
