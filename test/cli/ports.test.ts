import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { bindablePort, choosePort, portCandidates, quietPort } from '../../cli/stack/ports.js';
import { chooseStackPorts } from '../../cli/stack/stack-ports.js';

const servers: Server[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

/** Takes a port of the kernel's choice on loopback. */
async function takePort(): Promise<number> {
  const server = createServer();
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

describe('portCandidates', () => {
  it.each([
    { name: 'nothing wished: any', wishes: {}, first: [0] },
    { name: 'the usual one, then its neighbours', wishes: { usual: 8080 }, first: [8080, 8081, 8082] },
    {
      name: 'the previous start before the usual one',
      wishes: { recorded: 9000, usual: 8080 },
      first: [9000, 8080],
    },
    {
      name: "the user's before the previous start's",
      wishes: { configured: 7000, recorded: 9000, usual: 8080 },
      first: [7000, 9000, 8080],
    },
    { name: 'no port twice', wishes: { configured: 8080, recorded: 8080, usual: 8080 }, first: [8080, 8081] },
    { name: 'the user wants any', wishes: { configured: 0, usual: 8080 }, first: [0] },
  ])('$name', ({ wishes, first }) => {
    const candidates = portCandidates(wishes);
    expect(candidates.slice(0, first.length)).toEqual(first);
    expect(candidates.at(-1)).toBe(0);
  });
});

describe('choosePort', () => {
  it('takes the first that is free', async () => {
    const taken = new Set([8080, 8081]);
    const probe = async (port: number) => (taken.has(port) ? undefined : port);
    expect(await choosePort([8080, 8081, 8082, 0], probe)).toBe(8082);
  });

  it('says what it tried when none is', async () => {
    await expect(choosePort([8080, 0], async () => undefined)).rejects.toThrow('tried 8080, 0');
  });

  it('sees a port that a real server holds', async () => {
    const port = await takePort();
    expect(await bindablePort(port)).toBeUndefined();
    expect(await choosePort([port, 0])).not.toBe(port);
  });
});

describe('quietPort', () => {
  it('is none that an outgoing connection may get', async () => {
    const [from = 0, to = 0] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
      .trim()
      .split(/\s+/)
      .map(Number);
    for (let round = 0; round < 50; round += 1) {
      const port = await quietPort(async (candidate) => candidate);
      expect(port).toBeGreaterThanOrEqual(20_000);
      expect(port !== undefined && port >= from && port <= to).toBe(false);
    }
  });

  it("is the kernel's choice when all that are tried are taken", async () => {
    expect(await quietPort(async (candidate) => (candidate === 0 ? 40_000 : undefined))).toBe(40_000);
  });
});

describe('chooseStackPorts', () => {
  it('keeps the ports of the previous start, replaces a taken one and names it', async () => {
    const taken = await takePort();
    const free = await choosePort([0]);
    const lines: string[] = [];
    const ports = await chooseStackPorts({
      kind: 'any',
      host: '127.0.0.1',
      apiPort: undefined,
      recorded: { api: free, temporal: taken, temporalUi: free, postgres: await choosePort([0]) },
      log: (line) => lines.push(line),
    });
    expect(ports.api).toBe(free);
    expect(ports.temporal).not.toBe(taken);
    expect(new Set(Object.values(ports)).size).toBe(5);
    expect(lines[0]).toMatch(`port ${taken} (temporal) is taken by another program; using ${ports.temporal}`);
  });
});
