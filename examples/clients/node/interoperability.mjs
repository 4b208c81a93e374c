// Runs the steps of ../interoperability.json with this client: node interoperability.mjs RUNTIME_DIRECTORY PARTNER
//
// PARTNER is the address of a program that acknowledges what it is sent and answers requests with their bodies. At the step "restart" this says so on standard
// output, and goes on when it is told on standard input that the bus is a new one.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { BusError, Client, Kind } from "./client.mjs";

const [directory, partner] = process.argv.slice(2);
const steps = JSON.parse(readFileSync(new URL("../interoperability.json", import.meta.url), "utf8"));
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const clients = new Map();
const addresses = new Map([["partner", partner]]);
const begun = new Map();

const bodyOf = (step) => (step.size === undefined ? Buffer.from(step.body ?? "") : Buffer.alloc(step.size, "x"));
const whose = (name) => addresses.get(name) ?? name;
const statusOf = async (promise) => {
  try {
    return { status: "ok", body: await promise };
  } catch (error) {
    if (error instanceof BusError) return { status: error.status };
    throw error;
  }
};
const options = (step) => (step.timeout === undefined ? {} : { timeout: step.timeout });

const doers = {
  connect: async (step) => {
    const client = await Client.connect(directory, { timeout: 10_000 });
    clients.set(step.as, client);
    addresses.set(step.as, client.address);
    await client.subscribe("interoperability/nothing"); // the data door is open from here on
  },
  call: async (step) => assert.equal((await statusOf(clients.get(step.as).call(step.request, { to: step.to ?? "kernel" }))).status, step.status),
  subscribe: (step) => clients.get(step.as).subscribe(step.topic),
  unsubscribe: (step) => clients.get(step.as).unsubscribe(step.topic),
  publish: (step) => clients.get(step.as).publish(step.topic, bodyOf(step)),
  send: (step) => begun.set(step.begin, statusOf(clients.get(step.as).send(whose(step.to), step.topic, bodyOf(step), options(step)))),
  request: (step) => begun.set(step.begin, statusOf(clients.get(step.as).request(whose(step.to), bodyOf(step), options(step)))),
  receive: async (step) => {
    const client = clients.get(step.as);
    const message = await client.receive();
    assert.equal(message.kind, Kind[step.kind]);
    assert.equal(message.topic, step.topic);
    assert.equal(message.body.toString(), step.body);
    if (step.from !== undefined) assert.equal(message.from, whose(step.from));
    if (step.then === "acknowledge") client.acknowledge(message);
    if (step.then === "refuse") client.refuse(message, "not today");
    if (step.then === "reply") client.reply(message, step.answer);
  },
  end: async (step) => {
    const { status, body } = await begun.get(step.of);
    assert.equal(status, step.status);
    if (step.body !== undefined || step.size !== undefined) assert.deepEqual(Buffer.from(body), bodyOf(step));
  },
  large: async (step) => {
    for (let n = 0; n < step.count; n += 1) {
      const sent = clients.get(step.as).send(whose(step.to), "large", bodyOf(step));
      const message = await clients.get(step.to).receive();
      assert.equal(message.body.length, step.size);
      clients.get(step.to).acknowledge(message);
      await sent;
    }
  },
  many: async (step) => {
    const sent = Array.from({ length: step.count }, (_, n) => clients.get(step.as).send(whose(step.to), step.topic, String(n)));
    if (clients.has(step.to)) {
      for (let n = 0; n < step.count; n += 1) {
        const message = await clients.get(step.to).receive();
        assert.equal(message.body.toString(), String(n));
        clients.get(step.to).acknowledge(message);
      }
    }
    await Promise.all(sent);
  },
  restart: async () => {
    const welcomes = [...clients.values()].map((client) => client.welcomes);
    console.log("restart");
    await input.next();
    for (const [number, client] of [...clients.values()].entries()) {
      while (client.welcomes < welcomes[number] + 2) await new Promise((resolve) => setTimeout(resolve, 5)); // both doors know it again
    }
  },
  close: (step) => {
    const client = clients.get(step.as);
    clients.delete(step.as);
    return client.close();
  },
};

for (const [number, step] of steps.entries()) {
  try {
    await doers[step.do](step);
  } catch (error) {
    console.log(`failed at step ${number + 1}, ${JSON.stringify(step)}: ${error.message}`);
    process.exit(1);
  }
}
console.log(`passed ${steps.length} steps`);
process.exit(0);
