import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { type CheckResult, checkResultSchema } from '../../contract/doctor.js';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { settingsOf } from '../../infra/config/settings-index.js';
import { readStackConfig } from '../../infra/config/stack-config.js';
import type { Command } from '../stack/child-process.js';
import { apiChild, type StackAddresses, workerChild } from '../stack/own-programs.js';
import { chooseProvider } from '../stack/provider-choice.js';
import { localStackState } from '../stack/stack-file.js';
import { stackPaths } from '../stack/stack-paths.js';

/** Checks are bounded by 12 s and wait for at most two others, mostly of 3 s; the rest is for the start of a program. */
const programLimitMs = 30_000;
const longestOutput = 200_000;

type Program = 'api' | 'worker';

/** What is asked, and a line on whose settings these are. */
export interface ProgramsToCheck {
  readonly settings: CheckResult;
  readonly programs: { readonly program: Program; readonly command: Command }[];
}

/**
 * The programs to ask, with the settings that they run with: those of the local stack of the data folder, whether it runs or not, else those of the
 * environment, as in a container.
 */
export function programsToCheck(): ProgramsToCheck {
  const config = readStackConfig();
  const state = localStackState(config.dataDir);
  if (state.kind === 'never-started' || state.kind === 'starting') {
    const programs = (['api', 'worker'] as const).map((program) => ({
      program,
      command: {
        file: process.execPath,
        args: [join(packageRoot(), 'dist', program, 'main.js')],
        env: childEnvironment(settingsOf(program)),
        cwd: process.cwd(),
      },
    }));
    return { settings: settingsLine('API and worker: settings of the environment', []), programs };
  }
  const { stack } = state;
  const paths = stackPaths(config.dataDir);
  const provider = chooseProvider(config.provider);
  const addresses: StackAddresses = {
    apiUrl: stack.apiUrl,
    apiHost: new URL(stack.apiUrl).hostname,
    apiPort: stack.ports.api,
    temporalAddress: stack.temporalAddress,
    providerBaseUrl:
      provider.kind === 'provider' ? provider.baseUrl : `${stack.scriptedUrl ?? 'http://127.0.0.1'}/v1`,
  };
  return {
    settings: settingsLine(
      `API and worker: settings of the local stack in ${config.dataDir}`,
      withoutEffectOnStack(),
    ),
    programs: [
      { program: 'api', command: apiChild(paths, addresses, config.passedOn).command },
      { program: 'worker', command: workerChild(paths, addresses, provider, config.passedOn).command },
    ],
  };
}

/** Variables of the environment that a program of ours would read, but not one that `up` starts. */
function withoutEffectOnStack(): string[] {
  const ofPrograms = { ...settingsOf('api'), ...settingsOf('worker') };
  const read = { ...settingsOf('up'), ...settingsOf('cli') };
  return Object.keys(ofPrograms).filter((name) => ofPrograms[name]?.trim() && !Object.hasOwn(read, name));
}

function settingsLine(message: string, ignored: readonly string[]): CheckResult {
  const line = { program: 'command', name: 'settings' } as const;
  if (ignored.length === 0) return { ...line, ok: true, severity: null, message, cure: null, variable: null };
  return {
    ...line,
    ok: false,
    severity: 'warning',
    message: `${message}, not of the environment, where some are set too`,
    cure: 'unset, or set AGENTRUN_DATA_DIR to a folder without a local stack to check the environment',
    variable: ignored.join(', '),
  };
}

/** Starts a program with `--check` and reads what it prints. One that ends otherwise is a result too. */
export async function checkProgram(program: Program, command: Command): Promise<CheckResult[]> {
  const child = spawn(command.file, [...command.args, '--check'], {
    env: { ...command.env },
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: programLimitMs,
    killSignal: 'SIGKILL',
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] = (output[name] + text).slice(0, longestOutput);
    });
  }
  const ended = await new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  const results = parseResults(output.stdout);
  if (results.length > 0) return results;
  const lastLine = output.stderr.trim().split('\n').at(-1) ?? '';
  return [
    {
      program,
      name: 'start',
      ok: false,
      severity: 'error',
      message: `${program} --check did not say anything (${ended})${lastLine === '' ? '' : `: ${lastLine}`}`,
      cure: 'see what the program says when it is started by itself',
      variable: null,
    },
  ];
}

/** The results among the lines of a program; lines of others, such as warnings of Node, are left out. */
export function parseResults(stdout: string): CheckResult[] {
  return stdout.split('\n').flatMap((line) => {
    try {
      return [checkResultSchema.parse(JSON.parse(line))];
    } catch {
      return [];
    }
  });
}
