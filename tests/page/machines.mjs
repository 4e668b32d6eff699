// Machines as the manager sees them: they ask DHCP, load, report and send heartbeats, each from an address of its own.
import dgram from "node:dgram";
import http from "node:http";

export const MANAGER = { host: "10.98.0.1", port: 8067 };
const STAGES = ["early", "modules", "net", "dhcp", "files", "chunks", "fetch", "mount", "handover"];

export class Machine {
  // `last` makes address and MAC, which the manager has never seen before.
  constructor(last, more = {}) {
    const hex = (n) => n.toString(16).padStart(2, "0");
    this.address = `10.98.20.${last}`;
    this.mac = `${more.pi ? "dc:a6:32" : "52:54:00"}:00:20:${hex(last)}`;
    this.id = this.mac.replaceAll(":", "-");
    this.last = last;
    this.image = more.image;
    this.pi = more.pi;
    this.model = more.model ?? "QEMU Standard PC";
  }

  // A DHCPDISCOVER of PXE firmware (RFC 2131 §2, RFC 4578), and the manager's answer.
  async discover() {
    const packet = Buffer.alloc(240);
    packet.set([1, 1, 6, 0], 0);
    packet.writeUInt32BE(0x5eed0000 + this.last, 4);
    packet.writeUInt16BE(0x8000, 10);
    packet.set(this.mac.split(":").map((octet) => parseInt(octet, 16)), 28);
    packet.set([99, 130, 83, 99], 236);
    const who = Buffer.alloc(17, this.last);
    who[0] = 0;
    if (this.pi) {
      who.write("RPi4", 1);
      who.writeUInt32LE(0xc03114, 5);
      who.writeUInt32LE(0x5b154500 + this.last, 13);
    }
    const kind = Buffer.from("PXEClient:Arch:00000:UNDI:002001");
    const options = [[53, [1]], [60, kind], [93, [0, 0]], [94, [1, 2, 1]], [97, who], [55, [1, 3, 6, 43, 60, 66, 67]]];
    const bytes = options.flatMap(([code, value]) => [code, value.length, ...value]);
    const answers = (answer) => answer[0] === 2 && answer.readUInt32BE(4) === packet.readUInt32BE(4);
    await udp(Buffer.concat([packet, Buffer.from([...bytes, 255])]), 67, "10.98.255.255", { port: 68 }, answers);
  }

  get(path, headers = {}) {
    return this.ask("GET", path, undefined, headers);
  }

  ask(method, path, body, headers) {
    return ask(this.address, method, path, body, headers, this.slow);
  }

  // What it is sent it reads after that.
  slow = Promise.resolve();

  // Its script, and with it which image it gets; then `parts` of "kernel" and "initrd".
  async load(...parts) {
    this.script ??= await this.get(`/ipxe/${this.id}.x86_64`);
    this.image ??= /images\/([0-9a-f]{64})/.exec(this.script)?.[1];
    const line = (part) => this.script.split("\n").find((line) => line.startsWith(part));
    for (const part of parts) await this.get(/\/images\/\S+/.exec(line(part))[0]);
  }

  // How a stage ended.
  async report(stage, more = {}) {
    const { error, waterfall, ms = 20, facts = [] } = more;
    const line = { stage, facts, ms, ...(error && { error }) };
    const report = { mac: this.mac, image: this.image, line, ...(waterfall && { waterfall }) };
    await this.ask("POST", "/report", JSON.stringify(report));
  }

  // All stages up to `last`.
  async stages(last, waterfall) {
    for (const stage of STAGES.slice(0, STAGES.indexOf(last) + 1)) {
      const facts = stage === "early" ? [["machine", this.model], ["memory", "64000000000"]] : [];
      await this.report(stage, { facts, ...(stage === "handover" && waterfall && { waterfall }) });
    }
  }

  async beat(more = {}) {
    const beat = {
      mac: this.mac, image: this.image, hostname: `node-${this.last}`, boot_ms: 8000, up_s: 3600, memory: 64e9,
      available: 51e9, load_percent: 63, ...more,
    };
    await udp(Buffer.from(JSON.stringify(beat)), MANAGER.port, MANAGER.host, { address: this.address });
  }
}

function ask(localAddress, method, path, body, headers, slow) {
  return new Promise((resolve, reject) => {
    const request = http.request({ ...MANAGER, method, path, localAddress, headers, agent: false }, (answer) => {
      const parts = [];
      slow.then(() => answer.on("data", (part) => parts.push(part)));
      answer.on("end", () => {
        const text = Buffer.concat(parts).toString();
        if (answer.statusCode < 300) resolve(text);
        else reject(new Error(`${method} ${path}: ${answer.statusCode} ${text}`));
      });
    });
    request.on("error", reject).end(body);
  });
}

// Sends a packet; the socket closes when something came of which `answers` is true.
function udp(packet, port, host, from, answers) {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket({ type: "udp4", reuseAddr: true }).on("error", reject);
    const end = () => socket.close(resolve);
    if (answers) socket.on("message", (answer) => answers(answer) && end());
    socket.bind(from, () => {
      socket.setBroadcast(true);
      socket.send(packet, port, host, (error) => (error ? reject(error) : answers || end()));
    });
  });
}
