import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from '../../cli/stack/child-process.js';
import { runToEnd } from '../../cli/stack/one-shot.js';
import { acquireLock } from '../../cli/stack/stack-lock.js';
import { childEnvironment } from '../../infra/config/child-environment.js';

/** The version that the suite was written for: another one draws other cases and may know other checks. */
export const schemathesisVersion = '4.32.5';

const installTimeoutMs = 5 * 60_000;

/**
 * The `schemathesis` program of a virtual environment in the user's cache folder; made there if it is missing. Pip's mirror and proxies are those of
 * its own configuration.
 *
 * @throws Error that says what to install.
 */
export async function schemathesisProgram(cacheDir: string, log: (line: string) => void): Promise<string> {
  const folder = join(cacheDir, `schemathesis-${schemathesisVersion}`);
  const program = join(folder, 'bin', 'schemathesis');
  // Written last: an install that was interrupted is begun anew.
  const marker = join(folder, 'complete');
  if (existsSync(marker)) return program;
  mkdirSync(cacheDir, { recursive: true });
  const lock = acquireLock(`${folder}.lock`);
  if (lock.kind === 'held')
    throw new Error(`process ${lock.owner.pid} is installing ${folder}; try again then`);
  try {
    log(`installing schemathesis ${schemathesisVersion} into ${folder}`);
    rmSync(folder, { recursive: true, force: true });
    await step(cacheDir, { file: 'python3', args: ['-m', 'venv', folder] }).catch((error: unknown) => {
      throw new Error(
        'this suite needs Python 3.10 or later with venv (Debian: apt-get install python3-venv)',
        {
          cause: error,
        },
      );
    });
    const pip = join(folder, 'bin', 'pip');
    await step(cacheDir, {
      file: pip,
      args: ['install', '--quiet', '--disable-pip-version-check', `schemathesis==${schemathesisVersion}`],
    });
    writeFileSync(marker, '');
    return program;
  } finally {
    lock.release();
  }
}

async function step(cacheDir: string, { file, args }: Pick<Command, 'file' | 'args'>): Promise<void> {
  await runToEnd(
    { file, args, env: childEnvironment(pipSettings()), cwd: cacheDir },
    {
      name: [file, ...args].join(' '),
      logFile: join(cacheDir, 'schemathesis-install.log'),
      timeoutMs: installTimeoutMs,
    },
  );
}

/** Where pip finds its packages, and the way out of the network. */
function pipSettings(): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) =>
      /^(PIP_[A-Z_]+|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY)$/.test(name),
    ),
  );
}
