/** The fragment of an address that names a place: `#<message>.<position>`. */

/** The message and position that a fragment names, or null. */
export function readFragment(fragment) {
  const found = fragment.match(/^#([0-9a-f-]{36})(?:\.(\d{1,10}))?$/i);
  return found && { message_id: found[1].toLowerCase(), position: Number(found[2] ?? 0) };
}

/** The other way round. */
export const fragmentOf = ({ message_id: id, position }) => `#${id}.${position}`;
