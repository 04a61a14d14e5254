// A real @waku/sds MessageChannel, driven in lines of JSON on stdin and stdout as `reliable-channel peer` is.
//
// What: the channel as it comes from the registry, nothing of it replaced. What an application must do for it (process
// its tasks, sweep its buffers, call its sync) is done on command. Its clock (Date.now) and its chance (Math.random)
// are set from outside, so that a conversation is fast and the same every time.
//
// Commands: send{text|hex} retry{id} ephemeral{text} receive{hex} sync sweep clock{ms} state quit, each with "seq".
// Options: --channel --sender --now, and where they differ from the library's own: --causal --tmin --tmax --lost.

import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { isEphemeralMessage, Message, MessageChannel, MessageChannelEvent } from "@waku/sds";

const names = ["channel", "sender", "now", "causal", "tmin", "tmax", "lost"];
const options = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) }).values;
const number = (name) => (options[name] === undefined ? undefined : Number(options[name]));

let now = number("now");
Date.now = () => now;
let chance = 1;
Math.random = () => (chance = (chance * 48271) % 2147483647) / 2147483647;

const channel = new MessageChannel(options.channel, options.sender, {
  ...(options.causal !== undefined && { causalHistorySize: number("causal") }),
  ...(options.lost !== undefined && { timeoutForLostMessagesMs: number("lost") }),
  repairConfig: {
    ...(options.tmin !== undefined && { tMin: number("tmin") }),
    ...(options.tmax !== undefined && { tMax: number("tmax") }),
  },
});

const say = (told) => process.stdout.write(JSON.stringify(told) + "\n");
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const ids = (entries) => entries.map(({ messageId }) => messageId);
const content = ({ text, hex }) => new Uint8Array(hex === undefined ? Buffer.from(text) : Buffer.from(hex, "hex"));
const shown = (bytes) => ({ text: Buffer.from(bytes).toString(), hex: hex(bytes) });

// The callback that a channel transmits through.
const transmit = (kind) => async (message) => {
  say({ ev: "out", kind, id: message.messageId, hex: hex(message.encode()) });
  return { success: true };
};

const told = {
  [MessageChannelEvent.InMessageDelivered]: (id) => {
    const { content, senderId, lamportTimestamp } = channel.localHistory.find(({ messageId }) => messageId === id);
    return { ev: "delivered", id, ...shown(content), sender: senderId, lamport: Number(lamportTimestamp) };
  },
  [MessageChannelEvent.OutMessageAcknowledged]: (id) => ({ ev: "acked", id }),
  [MessageChannelEvent.OutMessagePossiblyAcknowledged]: ({ messageId, count }) => ({
    ev: "possibly_acked",
    id: messageId,
    count,
  }),
  [MessageChannelEvent.InMessageMissing]: (missing) => missing.length > 0 && { ev: "missing", ids: ids(missing) },
  [MessageChannelEvent.InMessageLost]: (lost) => ({ ev: "lost", ids: ids(lost) }),
  [MessageChannelEvent.InSyncReceived]: ({ senderId }) => ({ ev: "sync_received", sender: senderId }),
  [MessageChannelEvent.RepairRequestReceived]: ({ messageIds, fromSenderId }) => ({
    ev: "repair_requested",
    ids: messageIds,
    by: fromSenderId,
  }),
  // A message that makes the channel throw is dropped by it.
  [MessageChannelEvent.ErrorTask]: ({ error }) => ({ ev: "error", message: String(error) }),
};
for (const [event, line] of Object.entries(told)) {
  channel.addEventListener(event, ({ detail }) => {
    const told = line(detail);
    if (told) say(told);
  });
}

const commands = {
  send: async (command) => {
    channel.pushOutgoingMessage(content(command), transmit("content"));
    await channel.processTasks();
  },
  // What an application does about a message that nobody acknowledges: the same payload again.
  retry: async ({ id }) => {
    const message = channel.outgoingBuffer.find(({ messageId }) => messageId === id);
    if (message === undefined) throw Error(`message ${id} is not unacknowledged`);
    channel.pushOutgoingMessage(message.content, transmit("resend"));
    await channel.processTasks();
  },
  ephemeral: async (command) => {
    await channel.pushOutgoingEphemeralMessage(content(command), transmit("ephemeral"));
    await channel.processTasks();
  },
  receive: async ({ hex }) => {
    const message = Message.decode(new Uint8Array(Buffer.from(hex, "hex")));
    if (message === undefined) throw Error("@waku/sds cannot decode this");
    // The channel takes an ephemeral message without a word; applications look at the decoded message.
    if (isEphemeralMessage(message)) say({ ev: "ephemeral", ...shown(message.content), sender: message.senderId });
    channel.pushIncomingMessage(message);
    await channel.processTasks();
  },
  sync: async () => void (await channel.pushOutgoingSyncMessage(transmit("sync"))),
  sweep: async () => {
    channel.sweepIncomingBuffer();
    await channel.sweepRepairIncomingBuffer(transmit("repair"));
  },
  clock: async ({ ms }) => void (now = ms),
  state: async () =>
    say({
      ev: "state",
      log: ids(channel.localHistory.slice(0)),
      outgoing: ids(channel.outgoingBuffer),
      incoming: ids(channel.incomingBuffer),
      repair_out: channel.repairManager.outgoingBuffer.getItems().map(({ entry, tReq, requested }) => ({
        id: entry.messageId,
        t_req: tReq,
        requested,
      })),
      repair_in: channel.repairManager.incomingBuffer.getItems().map(({ entry, tResp }) => ({
        id: entry.messageId,
        t_resp: tResp,
      })),
      lamport: Number(channel.lamportTimestamp),
    }),
  quit: async () => process.exit(0),
};

say({ ev: "ready", channel: options.channel, sender: options.sender });
for await (const line of createInterface({ input: process.stdin })) {
  const { cmd, seq, ...command } = JSON.parse(line);
  try {
    await commands[cmd](command);
  } catch (error) {
    say({ ev: "error", message: String(error) });
  }
  say({ ev: "done", seq });
}
