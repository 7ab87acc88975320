"""An example of each model that needs one, by its name in the document.

A test validates each against its schema.
"""

from typing import Any, Final

_CONVERSATION_ID: Final = "f84b6cdd-7c3b-4c0e-9d4e-0c6b6f1f8f51"
_QUESTION_ID: Final = "85bb243b-3d0d-4b57-8f0c-0b7c2f6a3c9e"
_ANSWER_ID: Final = "25898727-59f8-4f6c-a3ab-3f5f0e1f7c11"

_CONVERSATION: Final = {
    "id": _CONVERSATION_ID,
    "title": "Why is the sky blue?",
    "system": None,
    "created_at": "2026-11-22T11:45:01.534791Z",
    "updated_at": "2026-11-22T11:45:01.534791Z",
}
_QUESTION: Final = {
    "id": _QUESTION_ID,
    "conversation_id": _CONVERSATION_ID,
    "parent_id": None,
    "continues_id": None,
    "role": "user",
    "status": "DONE",
    "text": "Why is the sky blue?",
    "parts": [{"kind": "text", "text": "Why is the sky blue?", "meta": None}],
    "position": 20,
    "length": 20,
    "sha256": "09ea26793343ba6c850b0e7b499ff5d4fca39de5381cdec99a6375a7b4efbc64",
    "model": None,
    "usage": None,
    "finish_reason": None,
    "error": None,
    "created_at": "2026-11-22T11:45:01.534791Z",
    "started_at": None,
    "first_text_at": None,
    "thought_ms": None,
    "ended_at": "2026-11-22T11:45:01.534791Z",
}
_PLACEHOLDER: Final = {
    **_QUESTION,
    "id": _ANSWER_ID,
    "parent_id": _QUESTION_ID,
    "role": "assistant",
    "status": "SENDING",
    "text": "",
    "parts": [],
    "position": 0,
    "length": None,
    "sha256": None,
    "model": "some-model",
    "ended_at": None,
}
_ANSWER: Final = {
    **_PLACEHOLDER,
    "status": "DONE",
    "text": "The sky scatters blue light.",
    "parts": [
        {"kind": "reasoning", "text": "A question about light. ", "meta": None},
        {"kind": "text", "text": "The sky scatters blue light.", "meta": None},
    ],
    "position": 52,
    "length": 52,
    "sha256": "f989583cde9cca244f6906d42647e945474e50bc5f9a6f01cb4b1db39248feb5",
    "usage": {"prompt_tokens": 12, "completion_tokens": 6, "source": "reported"},
    "finish_reason": "stop",
    "started_at": "2026-11-22T11:45:01.571542Z",
    "first_text_at": "2026-11-22T11:45:02.112233Z",
    "thought_ms": 804,
    "ended_at": "2026-11-22T11:45:03.445566Z",
}
_BLOCK: Final = {
    "n": 1,
    "part": 1,
    "kind": "text",
    "meta": None,
    "start": 24,
    "end": 52,
    "joins": False,
    "html": '<p dir="auto">The sky scatters blue light.</p>\n',
    "text": "The sky scatters blue light.",
}
_ENTRY: Final = {
    "id": _CONVERSATION_ID,
    "title": "Why is the sky blue?",
    "created_at": "2026-11-22T11:45:01.534791Z",
    "updated_at": "2026-11-22T11:45:03.445566Z",
    "status": "unseen",
    "answer": {
        "id": _ANSWER_ID,
        "status": "DONE",
        "error_code": None,
        "ended_at": "2026-11-22T11:45:03.445566Z",
    },
    "line": {"waiting": 1, "changed_at": "2026-11-22T11:45:02.998877Z"},
}

EXAMPLES: Final[dict[str, Any]] = {
    "NewConversation": {"title": "The sky", "system": "Answer in one sentence."},
    "ConversationChange": {"title": "Colours of the sky"},
    "SeenUpTo": {"message_id": _ANSWER_ID},
    "PlaceBody": {
        "message_id": _ANSWER_ID,
        "position": 120,
        "end": {"message_id": _ANSWER_ID, "position": 137},
    },
    "FoundPlace": {
        "place": {
            "message_id": _ANSWER_ID,
            "position": 120,
            "end": {"message_id": _ANSWER_ID, "position": 137},
            "read_at": "2026-11-22T11:45:10.120000Z",
        },
        "now": "2026-11-22T20:15:00.000000Z",
        "restarted": [],
    },
    "Question": {"content": "Why is the sky blue?", "options": {"temperature": 0.2}},
    "LineQuestion": {"content": "And why is it red in the evening?"},
    "LineChange": {"content": "And why is it red at dusk?"},
    "Line": {
        "items": [
            {
                "id": "5f0c4a0e-8a55-4d5a-9f3a-6a1d3c7d2b90",
                "content": "And why is it red in the evening?",
                "model": None,
                "problem": None,
                "created_at": "2026-11-22T11:45:02.998877Z",
                "changed_at": "2026-11-22T11:45:02.998877Z",
            }
        ],
        "held": None,
    },
    "AnswerRequest": {"model": "some-model"},
    "Conversation": _CONVERSATION,
    "ConversationList": {"items": [_CONVERSATION], "next": None},
    "Branch": {
        **_CONVERSATION,
        "messages": [
            {**_QUESTION, "siblings": [{"id": _QUESTION_ID, "leaf": _ANSWER_ID}]},
            {**_ANSWER, "siblings": [{"id": _ANSWER_ID, "leaf": _ANSWER_ID}]},
        ],
    },
    "HitList": {
        "items": [
            {
                "conversation": {
                    name: value for name, value in _CONVERSATION.items() if name != "system"
                },
                "message_id": _ANSWER_ID,
                "position": 4,
                "leaf": _ANSWER_ID,
                "snippet": [
                    {"text": "The ", "hit": False},
                    {"text": "sky", "hit": True},
                    {"text": " scatters blue light.", "hit": False},
                ],
            }
        ],
        "next": None,
    },
    "Asked": {"user": _QUESTION, "assistant": _PLACEHOLDER},
    "Message": _ANSWER,
    "Blocks": {
        "id": _ANSWER_ID,
        "status": "DONE",
        "blocks": [_BLOCK],
        "next": None,
        "position": 52,
        "length": 52,
        "sha256": _ANSWER["sha256"],
    },
    "Turns": {
        "conversation": {**_CONVERSATION, "title_by": "question"},
        "items": [
            {
                **{
                    name: value
                    for name, value in _ANSWER.items()
                    if name not in ("parts", "position")
                },
                "continues_at": None,
                "state": "finished",
                "text": None,
                "parts": None,
                "blocks": [_BLOCK],
                "next": None,
                "siblings": [{"id": _ANSWER_ID, "leaf": _ANSWER_ID}],
            }
        ],
        "earlier": _QUESTION_ID,
    },
    "EntryList": {"items": [_ENTRY], "next": None},
    "ModelList": {"items": [{"id": "some-model"}], "default": "some-model", "known": True},
    "Alive": {"status": "alive"},
    "Ready": {"status": "ready", "postgres": "ok", "redis": "ok"},
}
