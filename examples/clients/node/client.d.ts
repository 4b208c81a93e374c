/** A client of DADMS' message bus; see docs/reference/protocol.md. All times are milliseconds. */
export declare const VERSION: 1;
export declare const Kind: Readonly<Record<
  | "INVITE" | "HELLO" | "WELCOME" | "BYE" | "CALL" | "REPLY" | "SEND" | "ACK" | "REQUEST" | "RESPONSE" | "PUBLISH" | "SUBSCRIBE" | "UNSUBSCRIBE"
  | "CREDIT" | "LOST" | "REFUSE" | "PING" | "BATCH", number>>;

/** An answer that is not good. */
export declare class BusError extends Error {
  readonly status: string;
  constructor(status: string, message: string);
}

/** What a process proves itself with. */
export interface Identity {
  pid: number;
  incarnation: number;
  secret: Uint8Array;
}

export interface Message {
  kind: number;
  id: Buffer;
  from: string;
  to: string;
  topic: string;
  body: Buffer;
  deadline: number;
  isRetry: boolean;
}

export interface Options {
  timeout?: number;
}

export declare class Client {
  /** Under which others reach this client. */
  readonly address: string;
  readonly role: string;
  readonly lost: number;
  readonly violations: number;
  readonly welcomes: number;
  static connect(directory: string, options?: Options & { identity?: Identity | null; service?: string }): Promise<Client>;
  /** Connect as the service or tool that runs this program. */
  static ofProcess(options?: Options & { environment?: Record<string, string | undefined> }): Promise<Client>;
  call(request: unknown, options?: Options & { to?: string }): Promise<unknown>;
  send(to: string, topic: string, body?: Uint8Array | string, options?: Options): Promise<void>;
  request(to: string, body?: Uint8Array | string, options?: Options & { topic?: string }): Promise<Uint8Array>;
  publish(topic: string, body?: Uint8Array | string): void;
  subscribe(pattern: string, options?: Options): Promise<void>;
  unsubscribe(pattern: string, options?: Options): Promise<void>;
  receive(options?: Options): Promise<Message>;
  acknowledge(message: Message): void;
  reply(message: Message, body?: Uint8Array | string): void;
  refuse(message: Message, reason: string): void;
  close(): Promise<void>;
}
