import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

/** How many neighbours of a default port are tried before the kernel is asked for any. */
const neighbours = 20;

/** Where a local stack listens unless somebody asks for another address. */
export const loopback = '127.0.0.1';

/** Asks the kernel for a free port. */
export const anyPort = 0;

/** In which order ports are tried for one server. */
export function portCandidates(wishes: {
  /** What the user demands. */
  readonly configured?: number | undefined;
  /** What the previous start used; living runners and open browser tabs know it. */
  readonly recorded?: number | undefined;
  /** The usual port; undefined when any will do. */
  readonly usual?: number | undefined;
}): number[] {
  const { configured, recorded, usual } = wishes;
  const near =
    usual === undefined || configured === anyPort
      ? []
      : Array.from({ length: neighbours + 1 }, (_, step) => usual + step);
  const ordered = [configured, recorded, ...near].filter((port) => port !== undefined);
  return [...new Set(ordered.filter((port) => port !== anyPort)), anyPort];
}

/** The first candidate that nobody holds; `probe` answers the port it could bind, or undefined when it is taken. */
export async function choosePort(
  candidates: readonly number[],
  probe: (port: number) => Promise<number | undefined> = quietOrBindable,
): Promise<number> {
  for (const candidate of candidates) {
    const port = await probe(candidate);
    if (port !== undefined) return port;
  }
  throw new Error(`no free port (tried ${candidates.join(', ')})`);
}

const quietOrBindable = (port: number) => (port === anyPort ? quietPort() : bindablePort(port));

/** Ports below this one belong to well-known services. */
const lowestQuiet = 20_000;
const quietTries = 20;

/**
 * A free port below those that the kernel gives to outgoing connections: it is bound a moment after it was chosen, and no connection takes it by chance
 * meanwhile. Where there is none, the kernel's choice.
 */
export async function quietPort(
  probe: (port: number) => Promise<number | undefined> = bindablePort,
): Promise<number | undefined> {
  const end = outgoingFrom();
  for (let tried = 0; tried < quietTries && end > lowestQuiet; tried += 1) {
    const port = await probe(randomInt(lowestQuiet, end));
    if (port !== undefined) return port;
  }
  return probe(anyPort);
}

/** The first port of outgoing connections; Linux's default where it cannot be read. */
function outgoingFrom(): number {
  try {
    return Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10);
  } catch {
    return 32_768;
  }
}

/** Binds the port of an address for a moment. Answers the port (the kernel's choice for 0), undefined when taken. */
export async function bindablePort(port: number, host: string = loopback): Promise<number | undefined> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ port, host }, () => {
      const address = server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : undefined;
      server.close(() => resolve(bound));
    });
  });
}
