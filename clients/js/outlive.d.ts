/** An Idempotency-Key. (`randomUUID` is only there on secure origins.) */
export function newKey(): string;
/** The number of Unicode code points. @param {string} text */
export function codePoints(text: string): number;
/** Whether a text is exactly what an end's length and sha256 say. @param {string} content @param {Pick<End, "length" | "sha256">} end */
export function proves(content: string, { length, sha256 }: Pick<End, "length" | "sha256">): Promise<boolean>;
/** SHA-256 (FIPS 180-4). @param {Uint8Array} bytes */
export function sha256(bytes: Uint8Array): Uint8Array<ArrayBuffer>;
/**
 * Wait about this long; shorter if `signal` aborts or the browser is online again.
 * @param {number} milliseconds @param {AbortSignal} [signal] @returns {Promise<void>}
 */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void>;
/** `?name=value&…`, without empty values. @param {Json} values */
export function queryOf(values: Json): string;
/**
 * @typedef {Record<string, any>} Json
 * @typedef {{start: number, part: number, kind: string, text: string, meta?: Json | null}} Delta A piece of an answer.
 * @typedef {{kind: string, text: string, meta: Json | null}} Part
 * @typedef {{status: string, finish_reason: string | null, length: number | null, sha256: string | null,
 *   usage: Json | null, error: {code: string, message: string} | null}} End How an answer ended.
 * @typedef {{id: string, conversation_id: string, parent_id: string | null, role: string, status: string, text: string,
 *   parts: Part[], position: number} & Json} Message
 * @typedef {{items: Json[], next: string | null}} Page
 * @typedef {{id: string, user: string | null, created_at: string, expires_at: string | null, readers: number | null,
 *   token?: string | null, path?: string}} Share Who may read a conversation: a user, or (null) whoever has the link.
 * @typedef {{status: number, headers: {get(name: string): string | null | undefined}, text: string}} Whole A response.
 * @typedef {{signal?: AbortSignal, [more: string]: any}} CallOptions What else is given to the transport.
 * @typedef {{model?: string, options?: Json, key?: string, signal?: AbortSignal, onCut?: () => void}} AnswerOptions
 *   `key`: an Idempotency-Key of your own; `onCut`: called before each pause after a cut.
 */
/** A request that failed. `status` 0: there was no response. `retryAfter`: seconds, if the service said so. `limit`: what was exceeded, likewise. */
export class OutliveError extends Error {
    /** @param {number} status @param {string | undefined} code @param {string} message @param {number | null} [retryAfter] */
    constructor(status: number, code: string | undefined, message: string, retryAfter?: number | null);
    status: number;
    code: string | undefined;
    retryAfter: number | null;
    /** @type {number | null} */
    limit: number | null;
    /** Whether the same request may succeed a moment later. */
    get temporary(): boolean;
    /**
     * Whether to try again within so many milliseconds: the service is not ready, or we were too fast and it says how
     * long to wait. Who waits for ever is not made to wait for that.
     * @param {number} left
     */
    passes(left: number): boolean;
}
/** What was read is not the answer that is stored: read the message again. */
export class ProofMismatch extends Error {
}
/** Server-Sent Events: bytes in any pieces in, events out. Lines end at CR, LF and CRLF. */
export class EventDecoder {
    /** Milliseconds after which the server wants us back. @type {number | null} */
    retry: number | null;
    /** @param {Uint8Array} bytes @returns {{event: string, data: string, id: string}[]} */
    feed(bytes: Uint8Array): {
        event: string;
        data: string;
        id: string;
    }[];
    #private;
}
/**
 * An answer that is being read: iterate over its deltas, or `read` it. Leaving it does not stop it.
 *
 * Iterating throws OutliveError (it was deleted, say; or nothing came for too long), and
 * ProofMismatch at the end if what came is not the whole answer.
 */
export class Answer {
    /**
     * @param {Outlive} outlive
     * @param {{id?: string, question?: {path: string, body: Json, key: string}}} subject
     * @param {AnswerOptions} options
     */
    constructor(outlive: Outlive, { id, question }: {
        id?: string;
        question?: {
            path: string;
            body: Json;
            key: string;
        };
    }, options: AnswerOptions);
    /** Its id, for `follow`, `stop`, `retry`, `continue`. */
    id: string;
    /** The question and the answer as they were accepted. @type {{user: Message, assistant: Message} | null} */
    asked: {
        user: Message;
        assistant: Message;
    } | null;
    /** All parts as far as they have been read. @type {Part[]} */
    parts: Part[];
    /** How it ended. @type {End | null} */
    end: End | null;
    /** The text as far as it has been read, without reasoning and tool calls. */
    get text(): string;
    /** Read to the end. @returns {Promise<this>} */
    read(): Promise<this>;
    /** Leave; the answer is still written. */
    close(): void;
    /** Read until the question is accepted. */
    begin(): Promise<this>;
    /** @returns {AsyncIterableIterator<Delta>} */
    [Symbol.asyncIterator](): AsyncIterableIterator<Delta>;
    #private;
}
/** The service at one address. */
export class Outlive {
    /**
     * @param {object} [options]
     * @param {string} [options.url] its address; by default that of the page
     * @param {string | (() => string | Promise<string>)} [options.token] a credential, or what gives one for each request
     * @param {Record<string, string>} [options.headers] sent with each request, like `Outlive-User`
     * @param {number} [options.patience] milliseconds for which a call is repeated
     * @param {number} [options.streamPatience] milliseconds for which a stream may bring nothing
     * @param {(url: string, init: any) => Promise<Whole>} [options.transport] how calls (not streams) are made, if not by `fetch`
     * @param {(source: object, is: boolean) => void} [options.onTrouble] told when a call fails for now, and when that is over
     */
    constructor({ url, token, headers, patience, streamPatience, transport, onTrouble }?: {
        url?: string | undefined;
        token?: string | (() => string | Promise<string>) | undefined;
        headers?: Record<string, string> | undefined;
        patience?: number | undefined;
        streamPatience?: number | undefined;
        transport?: ((url: string, init: any) => Promise<Whole>) | undefined;
        onTrouble?: ((source: object, is: boolean) => void) | undefined;
    });
    patience: number;
    streamPatience: number;
    onTrouble: ((source: object, is: boolean) => void) | undefined;
    /**
     * Ask; resolves as soon as the question is accepted. Without `conversation` in a new one; `parent` is the answer
     * below which to ask, null for another root, by default the newest.
     * @param {string} content @param {AnswerOptions & {conversation?: string, parent?: string | null, system?: string}} [options]
     */
    ask(content: string, { conversation, parent, system, ...more }?: AnswerOptions & {
        conversation?: string;
        parent?: string | null;
        system?: string;
    }): Promise<Answer>;
    /** Have the same question answered again, beside an answer that has ended. @param {string} id @param {AnswerOptions} [options] */
    retry(id: string, options?: AnswerOptions): Promise<Answer>;
    /** Have an incomplete answer continued. @param {string} id @param {AnswerOptions} [options] */
    continue(id: string, options?: AnswerOptions): Promise<Answer>;
    /** Read an answer from its beginning. @param {string} id @param {AnswerOptions} [options] */
    follow(id: string, options?: AnswerOptions): Answer;
    /** Stop an answer; what was written is kept. @param {string} id @param {CallOptions} [options] @returns {Promise<Message>} */
    stop(id: string, options?: CallOptions): Promise<Message>;
    /** A message as it is now. @param {string} id @param {CallOptions} [options] @returns {Promise<Message>} */
    message(id: string, options?: CallOptions): Promise<Message>;
    /** A new conversation. @param {{title?: string, system?: string}} [fields] @param {CallOptions} [options] @returns {Promise<Json>} */
    createConversation(fields?: {
        title?: string;
        system?: string;
    }, { signal, key }?: CallOptions): Promise<Json>;
    /** The newest conversations. @param {{limit?: number, cursor?: string}} [query] @param {CallOptions} [options] @returns {Promise<Page>} */
    conversations(query?: {
        limit?: number;
        cursor?: string;
    }, options?: CallOptions): Promise<Page>;
    /** A conversation with one branch. @param {string} id @param {{leaf?: string, limit?: number, before?: string}} [query] @param {CallOptions} [options] @returns {Promise<Json>} */
    conversation(id: string, query?: {
        leaf?: string;
        limit?: number;
        before?: string;
    }, options?: CallOptions): Promise<Json>;
    /** Conversations with all these words. @param {string} q @param {{limit?: number, cursor?: string}} [query] @param {CallOptions} [options] @returns {Promise<Page>} */
    search(q: string, query?: {
        limit?: number;
        cursor?: string;
    }, options?: CallOptions): Promise<Page>;
    /** The models that can be asked. @param {CallOptions} [options] @returns {Promise<Json>} */
    models(options?: CallOptions): Promise<Json>;
    /**
     * On a page of the service: begin a session with an account, whose cookie the browser keeps. Tried once.
     * @param {string} login @param {string} password @param {CallOptions} [options] @returns {Promise<null>}
     */
    signIn(login: string, password: string, options?: CallOptions): Promise<null>;
    /** End this session, or those of all browsers. @param {{everywhere?: boolean}} [fields] @param {CallOptions} [options] @returns {Promise<null>} */
    signOut({ everywhere }?: {
        everywhere?: boolean;
    }, options?: CallOptions): Promise<null>;
    /**
     * Give the user of this session another password; their other sessions end. Tried once.
     * @param {string} current @param {string} fresh @param {CallOptions} [options] @returns {Promise<null>}
     */
    changePassword(current: string, fresh: string, options?: CallOptions): Promise<null>;
    /** The tokens used today and this month (UTC), and the budgets. @param {CallOptions} [options] @returns {Promise<Json>} */
    usage(options?: CallOptions): Promise<Json>;
    /**
     * Let a user, or without one whoever has the link, read a conversation. The link's `token` is one for this client,
     * and `path` a page of the service. Tried once: repeated it would be a second share.
     * @param {string} id @param {{user?: string, days?: number}} [fields] @param {CallOptions} [options] @returns {Promise<Share>}
     */
    share(id: string, fields?: {
        user?: string;
        days?: number;
    }, options?: CallOptions): Promise<Share>;
    /** The shares of a conversation. @param {string} id @param {CallOptions} [options] @returns {Promise<Share[]>} */
    shares(id: string, options?: CallOptions): Promise<Share[]>;
    /** Revoke a share. @param {string} id @param {CallOptions} [options] @returns {Promise<null>} */
    revokeShare(id: string, options?: CallOptions): Promise<null>;
    /** The conversations that others share. @param {CallOptions} [options] @returns {Promise<Json[]>} */
    shared(options?: CallOptions): Promise<Json[]>;
    /**
     * Everything of the user, to be saved: as JSON lines ("jsonl") or Markdown ("markdown"). Rejects if it was cut.
     * @param {string} [format] @param {CallOptions} [options] @returns {Promise<Blob>}
     */
    exportAll(format?: string, options?: CallOptions): Promise<Blob>;
    /**
     * Any call, repeated until there is a response; its JSON, null for a 204. Only for what may be repeated:
     * what creates something takes a `key`. Throws OutliveError.
     * @param {string} method @param {string} path @param {CallOptions} [options] @returns {Promise<any>}
     */
    call(method: string, path: string, { key, ...more }?: CallOptions): Promise<any>;
    /** The same, tried once. @param {string} method @param {string} path @param {CallOptions} [options] @returns {Promise<any>} */
    callOnce(method: string, path: string, { key, silence, ...more }?: CallOptions): Promise<any>;
    /** A response that is read as it comes. @param {string} method @param {string} path @param {Json} init */
    open(method: string, path: string, init: Json): Promise<Response>;
    #private;
}
export type Json = Record<string, any>;
/**
 * A piece of an answer.
 */
export type Delta = {
    start: number;
    part: number;
    kind: string;
    text: string;
    meta?: Json | null;
};
export type Part = {
    kind: string;
    text: string;
    meta: Json | null;
};
/**
 * How an answer ended.
 */
export type End = {
    status: string;
    finish_reason: string | null;
    length: number | null;
    sha256: string | null;
    usage: Json | null;
    error: {
        code: string;
        message: string;
    } | null;
};
export type Message = {
    id: string;
    conversation_id: string;
    parent_id: string | null;
    role: string;
    status: string;
    text: string;
    parts: Part[];
    position: number;
} & Json;
export type Page = {
    items: Json[];
    next: string | null;
};
/**
 * Who may read a conversation: a user, or (null) whoever has the link.
 */
export type Share = {
    id: string;
    user: string | null;
    created_at: string;
    expires_at: string | null;
    readers: number | null;
    token?: string | null;
    path?: string;
};
/**
 * A response.
 */
export type Whole = {
    status: number;
    headers: {
        get(name: string): string | null | undefined;
    };
    text: string;
};
/**
 * What else is given to the transport.
 */
export type CallOptions = {
    signal?: AbortSignal;
    [more: string]: any;
};
/**
 * `key`: an Idempotency-Key of your own; `onCut`: called before each pause after a cut.
 */
export type AnswerOptions = {
    model?: string;
    options?: Json;
    key?: string;
    signal?: AbortSignal;
    onCut?: () => void;
};
