/** What ends work in an orderly way: Ctrl-C, or who stops the program. */
export type StopSignal = 'SIGINT' | 'SIGTERM';

/** Does work that Ctrl-C or a SIGTERM ends: they abort its signal, a second one ends the program. `stoppedBy` is null for work that ended by itself. */
export async function untilStopped<T>(
  work: (signal: AbortSignal) => Promise<T>,
): Promise<{ readonly result: T; readonly stoppedBy: StopSignal | null }> {
  const stop = new AbortController();
  let stoppedBy: StopSignal | null = null;
  const onSignal = (name: StopSignal) => {
    stoppedBy = name;
    stop.abort();
  };
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    return { result: await work(stop.signal), stoppedBy };
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}
