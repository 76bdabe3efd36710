import assert from "node:assert/strict";
import { test } from "node:test";
import { backOff, connect } from "../../static/js/lib/socket.js";

/** A browser whose clock moves when told to, and whose sockets are in the test's hands. */
function fakeWorld() {
  const timers = new Map();
  let nextId = 1;
  const world = {
    clock: 0,
    sockets: [],
    silenceMs: 60_000,
    random: () => 1,
    now: () => world.clock,
    makeSocket(url) {
      const socket = {
        url, readyState: 1, sent: [],
        send: (text) => socket.sent.push(JSON.parse(text)),
        close: () => (socket.readyState = 3),
        tell: (message) => socket.onmessage({ data: JSON.stringify(message) }),
        break: () => ((socket.readyState = 3), socket.onclose()),
      };
      world.sockets.push(socket);
      return socket;
    },
    setTimeout(deed, ms) {
      timers.set(nextId, { deed, due: world.clock + ms });
      return nextId++;
    },
    clearTimeout: (id) => timers.delete(id),
    onOffline: (deed) => (world.goOffline = deed),
    onOnline: (deed) => (world.goOnline = deed),
    pass(ms) {
      const end = world.clock + ms;
      for (;;) {
        const [id, timer] = [...timers].sort((a, b) => a[1].due - b[1].due)[0] ?? [];
        if (!timer || timer.due > end) break;
        timers.delete(id);
        world.clock = timer.due;
        timer.deed();
      }
      world.clock = end;
    },
  };
  return world;
}

function listening(world = fakeWorld()) {
  const heard = { messages: [], states: [], returns: 0 };
  const channel = connect("/ws/live/", {
    onMessage: (message, acknowledge) => heard.messages.push({ message, acknowledge }),
    onState: (state) => heard.states.push(state),
    onReturn: () => (heard.returns += 1),
    world,
  });
  return { world, heard, channel };
}

test("a channel that was greeted is live", () => {
  const { world, heard } = listening();
  world.sockets[0].tell({ type: "hello", seq: 0 });
  assert.deepEqual(heard.states.map(({ name }) => name), ["connecting", "live"]);
  assert.equal(heard.returns, 0);
});

test("a lost channel is stale since it was last heard, comes back, and asks for what was missed once", () => {
  const { world, heard } = listening();
  world.sockets[0].tell({ type: "hello", seq: 0 });
  world.pass(3000);
  world.sockets[0].tell({ type: "readings", seq: 1, readings: [] });
  world.pass(100);
  world.sockets[0].break();

  assert.deepEqual(heard.states.at(-1), { name: "stale", since: 3000, attempt: 0 });
  world.pass(500);
  assert.equal(world.sockets.length, 2);
  world.sockets[1].tell({ type: "hello", seq: 9 });
  assert.equal(heard.states.at(-1).name, "live");
  assert.equal(heard.returns, 1);
});

test("attempts come ever later, up to twenty seconds", () => {
  assert.deepEqual([0, 1, 2, 10].map((n) => backOff(n, () => 1)), [500, 1000, 2000, 20_000]);
  assert.equal(backOff(0, () => 0), 250);
});

test("a server that is away is tried again and again, a greeting ends the waiting", () => {
  const { world } = listening();
  for (const wait of [500, 1000, 2000]) {
    world.sockets.at(-1).break();
    world.pass(wait - 1);
    const before = world.sockets.length;
    world.pass(1);
    assert.equal(world.sockets.length, before + 1);
  }
  world.sockets.at(-1).tell({ type: "hello", seq: 0 });
  world.sockets.at(-1).break();
  world.pass(500);
  assert.equal(world.sockets.length, 5);
});

test("a message is acknowledged when it is drawn, and only to the connection it came from", () => {
  const { world, heard } = listening();
  const [first] = world.sockets;
  first.tell({ type: "readings", seq: 4, readings: [] });
  assert.deepEqual(first.sent, []);
  heard.messages[0].acknowledge();
  assert.deepEqual(first.sent, [{ type: "ack", seq: 4 }]);

  first.tell({ type: "readings", seq: 5, readings: [] });
  first.break();
  world.pass(500);
  heard.messages[1].acknowledge();
  assert.equal(first.sent.length, 1);
  assert.deepEqual(world.sockets[1].sent, []);
});

test("a connection that falls silent is given up and opened anew", () => {
  const { world, heard } = listening();
  world.sockets[0].tell({ type: "hello", seq: 0 });
  world.pass(59_999);
  assert.equal(heard.states.at(-1).name, "live");
  world.pass(1);
  assert.equal(heard.states.at(-1).name, "stale");
  world.pass(500);
  assert.equal(world.sockets.length, 2);
});

test("without a network it is stale at once, and back as soon as there is one", () => {
  const { world, heard } = listening();
  world.sockets[0].tell({ type: "hello", seq: 0 });
  world.goOffline();
  assert.equal(heard.states.at(-1).name, "stale");
  world.goOnline();
  assert.equal(world.sockets.length, 2);
});

test("a closed channel stays closed", () => {
  const { world, heard, channel } = listening();
  world.sockets[0].tell({ type: "hello", seq: 0 });
  const n = heard.states.length;
  channel.close();
  world.sockets[0].break();
  world.pass(120_000);
  world.goOnline();
  assert.equal(world.sockets.length, 1);
  assert.equal(heard.states.length, n);
});
