"""What a reader reads: a message's text, its blocks, a user's list of conversations."""

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from web.following.notifier import Notifier

if TYPE_CHECKING:
    import uuid

    from web.following.face import Face, Written

#: Places for which a source keeps frames, and faces for which a message keeps those of its end.
#: Readers who are up to date stand at one or two. Those who return in a storm may stand anywhere,
#: and frames for all of them would be many bodies.
FRAME_CACHE: Final = 16

Place = TypeVar("Place")


class Source(Generic[Place]):
    """Something that grows, and wakes its readers when it did.

    Its frames are written once for all readers of a face who stand at the same place. That is right
    because `Face.write` is pure, and because each change of a source calls `notify`.
    """

    def __init__(self) -> None:
        #: wakes the readers: there may be more to write, it ended, or it was closed
        self.changed: Final = Notifier()
        #: counts the calls of `notify`, so that a reader who was writing sees that it missed one
        self.version = 0
        #: nothing keeps it true any more; its readers are cut and ask anew
        self.closed = False
        #: seconds after its last reader left until what is read is stopped; None: it goes on
        self.on_disconnect: float | None = None
        #: when a response ended last though its client was there (monotonic): it was cut by us, or
        #: is one of several, as with long polls; the client may be about to come back
        self.cut_at = -math.inf
        self._frames: dict[tuple[Hashable, Place], Written[Place]] = {}

    @property
    def message_id(self) -> "uuid.UUID | None":
        """The message that is read, if it is one."""
        return None

    @property
    def owner_id(self) -> "uuid.UUID | None":
        """The user whose message it is."""
        return None

    @property
    def conversation_id(self) -> "uuid.UUID | None":
        """The conversation that it belongs to."""
        return None

    def frames(self, face: "Face[Any, Place]", place: Place) -> "Written[Place]":
        """`face.write` of this source at `place`; kept until the next `notify`."""
        key = (face.frames_key, place)
        found = self._frames.get(key)
        if found is None:
            if len(self._frames) >= FRAME_CACHE:
                self._frames.clear()
            found = self._frames[key] = face.write(self, place)
        return found

    def notify(self) -> None:
        """It changed: forget the frames and wake every reader."""
        self._frames.clear()
        self.version += 1
        self.changed.notify()

    def close(self) -> None:
        """Send every reader away."""
        self.closed = True
        self.notify()
