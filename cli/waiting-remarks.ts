import { ApiError, type ClientLog, errorLine, StreamError, type StreamOptions } from '../client/index.js';
import type { Output } from './output.js';

type Remarks = Pick<Output, 'remark'>;

/** Says once that a stream waits for the API, and why, and once that it is back. */
export function tellWaiting(output: Remarks): NonNullable<StreamOptions['onState']> {
  let waits = false;
  return (state) => {
    if (state.kind === 'connected') {
      if (waits) output.remark('the API is back');
      waits = false;
      return;
    }
    const why = waitingText(state.error);
    if (waits || why === null) return;
    output.remark(`${why}; waiting`);
    waits = true;
  };
}

/** Why the API is waited for; null when it is not: a token is only read anew, and the next refusal is the end. */
export function waitingText(error: unknown): string | null {
  if (error instanceof ApiError) {
    if (error.status === 401) return null;
    const what = error.status >= 500 ? 'the API is not available' : 'the API refuses';
    return `${what} (${error.failureKind}: ${error.message})`;
  }
  if (error instanceof StreamError) return `the API cut the stream (${error.failureKind}: ${error.message})`;
  return `the API does not answer (${plainReason(errorLine(error))})`;
}

/** Says once that a request is repeated; how the last try ends the command says itself. */
export function tellRepeats(output: Remarks): ClientLog {
  let told = false;
  return {
    warn: (fields) => {
      if (told || fields.delayMs === undefined) return;
      told = true;
      output.remark(`${plainReason(fields)}; trying again`);
    },
  };
}

/** The names of classes say nothing to a person. */
const classNames = /(?<=^|, caused by |[[;] ?)[A-Za-z]*Error: /g;

function plainReason({ message, cause }: Readonly<Record<string, unknown>>): string {
  const [what, why] = [message, cause].map((part) =>
    typeof part === 'string' ? part.replace(classNames, '') : '',
  );
  return why === undefined || why === '' ? `${what}` : `${what}: ${why}`;
}
