import { anyPort, bindablePort, choosePort, portCandidates, quietPort } from './ports.js';
import type { StackFile } from './stack-file.js';

/** A port for each server. */
export interface StackPorts {
  readonly api: number;
  readonly temporal: number;
  readonly temporalUi: number;
  readonly postgres: number;
  readonly scriptedModel: number;
}

/** The scripted model server is nobody's business but the runners', so any port will do the first time. */
const usualPorts = {
  api: 8080,
  temporal: 7233,
  temporalUi: 8233,
  postgres: 15_432,
  scriptedModel: undefined,
} as const;

/**
 * Chooses the ports of a start: those of the previous one if they are free, since living runners know the API's URL;
 * else the usual ones; else others. Every port that is not the one wished for is named on the terminal.
 */
export async function chooseStackPorts(options: {
  readonly kind: 'usual' | 'any';
  /** The address whose ports these are. */
  readonly host: string;
  readonly apiPort: number | undefined;
  readonly recorded: StackFile['ports'] | undefined;
  readonly log: (line: string) => void;
}): Promise<StackPorts> {
  const chosen = new Set<number>();
  const free = async (port: number) =>
    chosen.has(port) ? undefined : await bindablePort(port, options.host);
  const probe = (port: number) => (port === anyPort ? quietPort(free) : free(port));
  const choose = async (name: keyof StackPorts, configured?: number) => {
    const recorded = options.recorded?.[name];
    const usual = options.kind === 'usual' ? usualPorts[name] : undefined;
    const port = await choosePort(portCandidates({ configured, recorded, usual }), probe);
    chosen.add(port);
    const wished = configured ?? recorded ?? usual;
    if (wished !== undefined && wished !== anyPort && wished !== port) {
      options.log(`port ${wished} (${name}) is taken by another program; using ${port}`);
    }
    return port;
  };
  return {
    api: await choose('api', options.apiPort),
    temporal: await choose('temporal'),
    temporalUi: await choose('temporalUi'),
    postgres: await choose('postgres'),
    scriptedModel: await choose('scriptedModel'),
  };
}
