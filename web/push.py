"""Browsers that are notified when an answer is ready: subscribed, listed and revoked."""

import uuid

from flask import Blueprint, Response

from shared import push_services, vapid
from shared.errors import Conflict, Invalid
from shared.store import pushes
from web import requests, responses, schemas
from web.auth import current_user, principal
from web.context import context

blueprint = Blueprint("push", __name__, url_prefix="/api")

#: Bytes of the secret that a browser shares with us (RFC 8291, 3.2).
SECRET_BYTES = 16


@blueprint.get("/push")
def show_push() -> Response:
    """The key with which a browser subscribes, and the browsers that are notified."""
    found = pushes.of(context().db, current_user())
    items = [schemas.SubscriptionShape.of(one) for one in found]
    return responses.reply(schemas.PushShape(key=context().push_key, items=items))


@blueprint.post("/push")
def subscribe() -> Response:
    """201. A browser that is known already is notified as this request says from now on."""
    new = requests.json_body(schemas.NewSubscription)
    if not context().push_key:
        raise Conflict(code="push_off")
    if push_services.place_of(new.endpoint, context().settings.push_places) is None:
        raise Invalid(code="invalid_endpoint")
    try:
        vapid.point(new.keys.p256dh)
        fits = len(vapid.decoded(new.keys.auth)) == SECRET_BYTES
    except ValueError:
        fits = False
    if not fits:
        raise Invalid(code="invalid_push_keys")
    credential = principal().credential
    made = pushes.subscribe(
        context().db,
        current_user(),
        uuid.UUID(credential.id) if credential.kind == "session" else None,
        endpoint=new.endpoint,
        p256dh=new.keys.p256dh,
        auth=new.keys.auth,
        with_text=new.with_text,
    )
    return responses.reply(schemas.SubscriptionShape.of(made), 201)


@blueprint.delete("/push/<uuid:subscription_id>")
def unsubscribe(subscription_id: uuid.UUID) -> Response:
    """204. This browser is not notified any more."""
    pushes.unsubscribe(context().db, current_user(), subscription_id)
    return Response(status=204)
