// A client of DADMS' message bus, written from docs/reference/protocol.md alone.
//
// 1. Nothing but HELLO is said before the bus's WELCOME, on the first connection as on each later one.
// 2. Whatever wants an answer is kept until the answer or its deadline comes, and is said again after each WELCOME, with the same id and RETRY.
// 3. What was delivered once is not delivered again: its answer is repeated.
// 4. Garbage from the bus is counted and ignored.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decode, decodeMulti, encode } from "@msgpack/msgpack";
import { Dealer } from "zeromq";

export const VERSION = 1;
export const Kind = Object.freeze({
  INVITE: 1, HELLO: 2, WELCOME: 3, BYE: 4, CALL: 10, REPLY: 11, SEND: 20, ACK: 21, REQUEST: 22, RESPONSE: 23, PUBLISH: 30, SUBSCRIBE: 31,
  UNSUBSCRIBE: 32, CREDIT: 40, LOST: 41, REFUSE: 50, PING: 51, BATCH: 60,
});
const RETRY = 1;
const EMPTY = new Uint8Array();
const WINDOW = 256; // deliveries that may come ahead of the program
const CREDIT_BYTES = 4 * 1024 * 1024; // of bodies after which credit is given back, or a large one would wait for ever
const SEEN_LIMIT = 10_000; // ids that are remembered
const BATCHED_BODY = 16 * 1024; // bytes: a larger body travels alone
const BATCH_BYTES = 256 * 1024; // bytes of bodies in one batch
const BATCH_LIMIT = 1024; // messages of a batch
const CLOSE_TIMEOUT = 200; // ms that close may take to hand over what waits
const DELIVERIES = new Set([Kind.SEND, Kind.REQUEST, Kind.PUBLISH]);
const ANSWERS = new Set([Kind.REPLY, Kind.ACK, Kind.RESPONSE, Kind.REFUSE]);
const GOOD = new Set(["ok", "stored"]);

/** An answer that is not good: `status` is a word of the protocol, `message` is fit for a person. */
export class BusError extends Error {
  constructor(status, message) {
    super(message);
    this.name = "BusError";
    this.status = status;
  }
}

function troubleOf(body) {
  try {
    const found = decode(body);
    return typeof found?.message === "string" ? found.message : "no reason was given";
  } catch {
    return "no reason was given";
  }
}

/** One connection to one door of the bus. */
class Line {
  constructor(client, name, path) {
    this.client = client;
    this.isWelcomed = false;
    this.hello = "";
    this.outbox = [];
    this.isSending = false;
    this.socket = new Dealer({
      probeRouter: true, immediate: true, reconnectInterval: 10, reconnectMaxInterval: 50, linger: 100, sendHighWaterMark: 64, receiveHighWaterMark: 1024,
    });
    this.name = name;
    this.socket.connect(`ipc://${path}`);
    this.done = this.listen();
  }

  async listen() {
    try {
      for await (const frames of this.socket) this.client.hear(this, frames);
    } catch (error) {
      if (!this.socket.closed) throw error;
    }
  }

  say(message) {
    this.outbox.push(message);
    void this.flush();
  }

  async flush() {
    if (this.isSending) return; // a socket takes one message at a time
    this.isSending = true;
    try {
      let frames;
      while (!this.socket.closed && (frames = this.stage()) !== null) await this.socket.send(frames);
    } catch (error) {
      if (!this.socket.closed) throw error;
    } finally {
      this.isSending = false;
    }
  }

  /** Take what may go now: one message, or all that are small together. */
  stage() {
    const batch = [];
    let size = 0;
    while (this.outbox.length > 0 && (this.isWelcomed || this.outbox[0].kind === Kind.HELLO)) {
      const next = this.outbox[0];
      const isSmall = next.body.length <= BATCHED_BODY;
      if (batch.length > 0 && (!isSmall || size + next.body.length > BATCH_BYTES || batch.length === BATCH_LIMIT)) break;
      this.outbox.shift();
      const header = this.client.header(next);
      if (header === null) continue;
      batch.push([header, next.body]);
      size += next.body.length;
      if (!isSmall || !this.isWelcomed) break;
    }
    if (batch.length === 0) return null;
    if (batch.length === 1) return [encode(batch[0][0]), batch[0][1]];
    return [encode([VERSION, Kind.BATCH]), encode(batch)];
  }
}

export class Client {
  #id = randomBytes(16);
  #directory;
  #timeout;
  #identity;
  #service;
  #lines = new Map();
  #sequence = 0n;
  #pending = new Map(); // id in hex -> what waits for an answer
  #subscriptions = new Set();
  #inbox = [];
  #waiting = []; // who waits for a message
  #seen = new Map(); // id in hex -> its answer, or null
  #taken = 0; // deliveries since credit was last given back
  #takenBytes = 0; // of their bodies
  #welcome = null;
  #end = null; // why the session is over

  address = "";
  role = "";
  lost = 0; // publications that the bus dropped as this client did not keep up
  violations = 0; // frames of the bus that could not be read
  welcomes = 0;

  /** Connect to the daemon on a runtime directory. */
  static async connect(directory, { timeout = 5000, identity = null, service = "" } = {}) {
    const client = new Client(directory, timeout, identity, service);
    try {
      await client.#enter(timeout);
    } catch (error) {
      await client.close();
      throw error;
    }
    return client;
  }

  /** Connect as the service or tool that runs this program. */
  static async ofProcess({ timeout = 5000, environment = process.env } = {}) {
    const { DADMS_RUNTIME_DIR: directory, DADMS_PID: pid, DADMS_INCARNATION: incarnation } = environment;
    if (!directory || !pid || !incarnation) throw new BusError("refused", "cannot speak as a process: no service or tool of a daemon runs this program");
    let secret;
    try {
      secret = readFileSync(join(directory, "secrets", `${pid}.${incarnation}`));
    } catch (error) {
      throw new BusError("refused", `cannot speak as process ${pid}.${incarnation}: ${error.message}`);
    }
    return Client.connect(directory, { timeout, identity: { pid: Number(pid), incarnation: Number(incarnation), secret } });
  }

  constructor(directory, timeout, identity, service) {
    this.#directory = directory;
    this.#timeout = timeout;
    this.#identity = identity;
    this.#service = service;
  }

  async #enter(timeout) {
    const timer = setTimeout(() => this.#welcome?.reject(new BusError("unreachable", `no daemon answers on ${this.#directory}`)), timeout);
    try {
      await new Promise((resolve, reject) => {
        this.#welcome = { resolve, reject };
        this.#line("control");
      });
    } finally {
      clearTimeout(timer);
      this.#welcome = null;
    }
  }

  /** Ask the kernel (or another service); gives the decoded answer. */
  async call(request, { to = "kernel", timeout = this.#timeout } = {}) {
    return decode(await this.#ask("control", Kind.CALL, to, "", encode(request), timeout));
  }

  /** Send a message; resolves when its receiver has handled it, or when it is on disk. */
  async send(to, topic, body = EMPTY, { timeout = this.#timeout } = {}) {
    await this.#ask("data", Kind.SEND, to, topic, bytes(body), timeout);
  }

  /** Send a request; gives the body of its answer. */
  async request(to, body = EMPTY, { topic = "TASK_REQUEST", timeout = this.#timeout } = {}) {
    return this.#ask("data", Kind.REQUEST, to, topic, bytes(body), timeout);
  }

  /** Tell whoever subscribes, at most once. */
  publish(topic, body = EMPTY) {
    this.#line("data").say({ kind: Kind.PUBLISH, id: this.#next(), to: "", topic, correlation: EMPTY, body: bytes(body) });
  }

  async subscribe(pattern, { timeout = this.#timeout } = {}) {
    await this.#ask("data", Kind.SUBSCRIBE, "", pattern, EMPTY, timeout);
    this.#subscriptions.add(pattern);
  }

  async unsubscribe(pattern, { timeout = this.#timeout } = {}) {
    this.#subscriptions.delete(pattern);
    await this.#ask("data", Kind.UNSUBSCRIBE, "", pattern, EMPTY, timeout);
  }

  /** Give the next message: acknowledge, reply to or refuse it. */
  async receive({ timeout = this.#timeout } = {}) {
    this.#line("data");
    const message = this.#inbox.shift() ?? (await this.#wait(timeout));
    this.#returnCredit(message);
    return message;
  }

  #wait(timeout) {
    if (this.#end !== null) throw this.#end;
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      waiter.timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(new BusError("expired", `no message came in ${timeout} ms`));
      }, timeout);
      this.#waiting.push(waiter);
    });
  }

  acknowledge(message) {
    this.#respond(message, Kind.SEND, "ok", EMPTY);
  }

  reply(message, body = EMPTY) {
    this.#respond(message, Kind.REQUEST, "ok", bytes(body));
  }

  refuse(message, reason) {
    this.#respond(message, message.kind, "refused", encode({ message: reason }));
  }

  async close() {
    const lines = [...this.#lines.values()];
    for (const line of lines) if (line.isWelcomed) line.say({ kind: Kind.BYE, id: EMPTY, to: "", topic: "", correlation: EMPTY, body: EMPTY });
    const end = Date.now() + CLOSE_TIMEOUT;
    while (lines.some((line) => line.isSending) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
    this.#fail(new BusError("refused", "the client was closed"));
    for (const line of lines) line.socket.close();
    await Promise.all(lines.map((line) => line.done));
  }

  // within

  #line(name) {
    let line = this.#lines.get(name);
    if (line === undefined) {
      if (this.#end !== null) throw this.#end;
      line = new Line(this, name, join(this.#directory, `${name}.sock`));
      this.#lines.set(name, line);
    }
    return line;
  }

  #next() {
    this.#sequence += 1n;
    const id = Buffer.alloc(24);
    this.#id.copy(id);
    id.writeBigUInt64BE(this.#sequence, 16);
    return id;
  }

  #ask(door, kind, to, topic, body, timeout) {
    const line = this.#line(door);
    if (this.#end !== null) throw this.#end;
    const id = this.#next();
    return new Promise((resolve, reject) => {
      const asked = { door, kind, id, to, topic, correlation: EMPTY, body, deadline: performance.now() + timeout, isSaid: false, resolve, reject };
      asked.timer = setTimeout(() => this.#settle(id.toString("hex"), "expired", encode({ message: `no answer in ${timeout} ms` })), timeout);
      this.#pending.set(id.toString("hex"), asked);
      if (line.isWelcomed) line.say(asked);
    });
  }

  #settle(key, status, body) {
    const asked = this.#pending.get(key);
    if (asked === undefined) return;
    this.#pending.delete(key);
    clearTimeout(asked.timer);
    if (GOOD.has(status)) asked.resolve(body);
    else asked.reject(new BusError(status, troubleOf(body)));
  }

  #respond(message, expected, status, body) {
    if (message.kind !== expected || message.kind === Kind.PUBLISH) throw new BusError("refused", `a message of kind ${message.kind} is not answered so`);
    this.#seen.set(message.id.toString("hex"), { status, body });
    this.#answer(message.kind, message.id, message.from, status, body);
  }

  #answer(asked, correlation, to, status, body) {
    const kind = asked === Kind.SEND ? Kind.ACK : Kind.RESPONSE;
    this.#line("data").say({ kind, id: EMPTY, to, topic: status, correlation, body });
  }

  #returnCredit(message) {
    this.#taken += 1;
    this.#takenBytes += message.body.length;
    const line = this.#line("data");
    if ((this.#taken * 2 < WINDOW && this.#takenBytes < CREDIT_BYTES) || !line.isWelcomed) return;
    line.say({ kind: Kind.CREDIT, id: EMPTY, to: "", topic: "", correlation: EMPTY, body: encode(this.#taken) });
    this.#taken = this.#takenBytes = 0;
  }

  #fail(error) {
    this.#end ??= error;
    for (const asked of this.#pending.values()) {
      clearTimeout(asked.timer);
      asked.reject(error);
    }
    this.#pending.clear();
    for (const waiter of this.#waiting.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.reject(error);
    }
    this.#welcome?.reject(error);
  }

  /** The header of a message that goes out now; null when its deadline has passed. */
  header(message) {
    let remaining = 0;
    if (message.deadline !== undefined) {
      remaining = Math.floor(message.deadline - performance.now());
      if (remaining <= 0) return null;
    }
    const flags = message.isSaid ? RETRY : 0;
    if (message.isSaid === false) message.isSaid = true;
    return [VERSION, message.kind, message.id, "", message.to, message.topic, message.correlation, remaining, flags];
  }

  /** Take a received multipart message. */
  hear(line, frames) {
    try {
      if (frames.length < 1 || frames.length > 2) throw new Error(`a message of ${frames.length} frames`);
      const header = decode(frames[0]);
      const body = frames[1] ?? EMPTY;
      if (header[1] === Kind.BATCH) for (const [inner, content] of decode(body)) this.#take(line, inner, content);
      else this.#take(line, header, body);
    } catch (error) {
      if (error instanceof BusError) throw error;
      this.violations += 1;
    }
  }

  #take(line, header, body) {
    const [, kind, id, from = "", to = "", topic = "", correlation = EMPTY, deadline = 0, flags = 0] = header;
    const answered = Buffer.from(correlation).toString("hex");
    if (DELIVERIES.has(kind)) this.#deliver({ kind, id: Buffer.from(id), from, to, topic, body: Buffer.from(body), deadline, isRetry: (flags & RETRY) !== 0 });
    else if (kind === Kind.INVITE) this.#greet(line);
    else if (kind === Kind.WELCOME && answered === line.hello) this.#entered(line, decode(body));
    else if (kind === Kind.REFUSE && answered === line.hello && line.hello !== "") this.#fail(new BusError(topic, troubleOf(body)));
    else if (ANSWERS.has(kind) && topic === "hello") {
      if (line.isWelcomed) this.#greet(line);
    } else if (ANSWERS.has(kind)) this.#settle(answered, topic, body);
    else if (kind === Kind.LOST) this.lost += [...decodeMulti(body)][0];
    else if (kind === Kind.BYE) this.#fail(new BusError("refused", troubleOf(body)));
  }

  #deliver(message) {
    const key = message.id.toString("hex");
    if (message.kind !== Kind.PUBLISH) {
      if (this.#seen.has(key)) {
        const answer = this.#seen.get(key);
        if (answer !== null) this.#answer(message.kind, message.id, message.from, answer.status, answer.body);
        this.#returnCredit(message); // the program will never take it
        return;
      }
      this.#seen.set(key, null);
      if (this.#seen.size > SEEN_LIMIT) this.#seen.delete(this.#seen.keys().next().value);
    }
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#inbox.push(message);
    else {
      clearTimeout(waiter.timer);
      waiter.resolve(message);
    }
  }

  #greet(line) {
    line.isWelcomed = false;
    line.outbox = line.outbox.filter((message) => message.kind === Kind.PUBLISH); // the rest is kept elsewhere, or asked for again
    const id = this.#next();
    line.hello = id.toString("hex");
    const hello = { client: this.#id, versions: [VERSION], software: "dadms example (node)", credit: 0, ...(this.#identity ?? {}) };
    if (this.#service) hello.service = this.#service;
    if (line.name === "data") {
      hello.credit = Math.max(0, WINDOW - this.#inbox.length);
      this.#taken = this.#takenBytes = 0;
    }
    line.outbox.unshift({ kind: Kind.HELLO, id, to: "", topic: "", correlation: EMPTY, body: encode(hello) });
    void line.flush();
  }

  #entered(line, welcome) {
    line.isWelcomed = true;
    this.address = welcome.address;
    this.role = welcome.role;
    this.welcomes += 1;
    const kept = line.outbox.splice(0);
    if (line.name === "data") {
      for (const topic of this.#subscriptions) line.outbox.push({ kind: Kind.SUBSCRIBE, id: this.#next(), to: "", topic, correlation: EMPTY, body: EMPTY });
    }
    for (const asked of this.#pending.values()) if (asked.door === line.name) line.outbox.push(asked);
    line.outbox.push(...kept);
    void line.flush();
    this.#welcome?.resolve();
  }
}

function bytes(body) {
  return typeof body === "string" ? Buffer.from(body) : body;
}
