"""Tools, results, images and formats through chat completions, up to what the provider is sent."""

import json
from typing import Any

from openai import OpenAI

from local.programs import Worker
from scripted import done, finish, say, script
from tests.client import Client, new_id
from tests.rig import Rig
from tests.web.faces.test_chat_completions import api, user
from tests.web.faces.test_tools import TOOLS, calls_then, data_url, image, unique_png

__all__ = ["api"]

FORMAT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "sum", "schema": {"type": "object", "default": None}, "strict": True},
}


def test_a_tool_loop_is_one_thread_though_its_client_writes_arguments_anew(
    rig: Rig, api: OpenAI, client: Client, worker: Worker
) -> None:
    options: Any = {
        "tools": TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": FORMAT,
    }
    history: list[Any] = [user(calls_then("It is 3."))]
    with api.chat.completions.stream(model="scripted", messages=history, **options) as stream:
        [choice] = stream.get_final_completion().choices
    calls = choice.message.tool_calls or []
    assert choice.finish_reason == "tool_calls"
    assert [(one.id, one.function.name, one.function.arguments) for one in calls] == [
        ("c1", "add", '{"a": 1, "b": 2}'),
        ("c2", "now", "{}"),
    ]
    # as people do: what the helper gave goes back as it is, but for arguments that were parsed
    history.append(choice.message)
    for call in calls:
        call.function.arguments = json.dumps(
            json.loads(call.function.arguments), separators=(",", ":")
        )
        history.append({"role": "tool", "tool_call_id": call.id, "content": "3"})

    raw = api.chat.completions.with_raw_response.create(
        model="scripted", messages=history, **options
    )

    assert raw.parse().choices[0].message.content == "It is 3."
    place = raw.headers["Outlive-Conversation-Id"]
    shown = client.http.get(f"/api/conversations/{place}").json()["messages"]
    assert [one["role"] for one in shown] == ["user", "assistant", "user", "assistant"]
    assert len({place, *[one["conversation_id"] for one in shown]}) == 1
    assert [one["finish_reason"] for one in shown[1::2]] == ["tool_calls", "stop"]
    one, other = (
        record.request or {} for record in rig.scripted.requests(contains=history[0]["content"])
    )
    assert {name: one[name] for name in options} == options
    assert [turn["role"] for turn in other["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [turn["tool_call_id"] for turn in other["messages"][2:]] == ["c1", "c2"]


def test_images_of_a_history_reach_the_provider_and_are_kept_once(
    rig: Rig, api: OpenAI, worker: Worker
) -> None:
    picture = image(data_url(unique_png()))
    question = script(say("A dot."), finish(), done(), tag=new_id())
    history: list[Any] = [user([picture, {"type": "text", "text": question}])]
    before = rig.rows("SELECT count(*) AS n FROM files")[0].n
    first = api.chat.completions.with_raw_response.create(model="scripted", messages=history)
    history.append(first.parse().choices[0].message)
    following = script(say("Sure."), finish(), done(), tag=new_id())
    history.append(user(following))

    second = api.chat.completions.with_raw_response.create(model="scripted", messages=history)

    name = "Outlive-Conversation-Id"
    assert second.headers[name] == first.headers[name]
    assert rig.rows("SELECT count(*) AS n FROM files")[0].n == before + 1
    [record] = rig.scripted.wait_requests(1, contains=following)
    assert record.request is not None
    assert record.request["messages"] == [
        history[0],
        {"role": "assistant", "content": "A dot."},
        history[2],
    ]
