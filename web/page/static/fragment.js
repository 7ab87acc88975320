/** The fragment of an address that names a place: `#<message>.<position>`. */

/** The message and position that a fragment names, or null. */
export function readFragment(fragment) {
  const found = fragment.match(/^#([0-9a-f-]{36})(?:\.(\d{1,10}))?$/i);
  return found && { message_id: found[1].toLowerCase(), position: Number(found[2] ?? 0) };
}

/** The other way round. */
export const fragmentOf = ({ message_id: id, position }) => `#${id}.${position}`;

/** Where an address waits for its page to come back from a sign-in at another server. */
const KEPT = "outlive.back";

/** Keep an address with its fragment, which no server is to see. */
export function keepAddress(address) {
  try {
    sessionStorage.setItem(KEPT, address);
  } catch {
    // no storage
  }
}

/** The fragment that was kept with this path, once; "" without one. */
export function takeFragment(path) {
  try {
    const [kept, fragment] = (sessionStorage.getItem(KEPT) ?? "").split("#");
    sessionStorage.removeItem(KEPT);
    return kept === path && fragment ? `#${fragment}` : "";
  } catch {
    return "";
  }
}
