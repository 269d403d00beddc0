import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts the time of processes in hundredths of a second (USER_HZ). */
const msPerTick = 10;

/** Milliseconds of CPU that a process has used, user and system; with its children, those that have ended included, for a server that forks. */
export function cpuMsOf(pid: number, withChildren = false): number {
  const [user = 0, system = 0, endedUser = 0, endedSystem = 0] = statOf(pid).times;
  if (!withChildren) return (user + system) * msPerTick;
  const children = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && parentOf(name) === pid);
  const living = children.map((name) => cpuOfChild(Number(name)));
  return (user + system + endedUser + endedSystem) * msPerTick + living.reduce((sum, ms) => sum + ms, 0);
}

/** A process may end between being listed and being read. */
function parentOf(name: string): number {
  try {
    return statOf(Number(name)).parent;
  } catch {
    return 0;
  }
}

function cpuOfChild(pid: number): number {
  try {
    return cpuMsOf(pid);
  } catch {
    return 0;
  }
}

/** proc_pid_stat(5). The name of the program, in brackets, may hold anything. */
function statOf(pid: number): { parent: number; times: number[] } {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { parent: Number(fields[1]), times: fields.slice(11, 15).map(Number) };
}
