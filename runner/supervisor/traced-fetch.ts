/** `fetch` that says which span its requests belong to, unless a request says so itself. Null: none. */
export function tracedFetch(traceparent: string | null): typeof globalThis.fetch {
  if (traceparent === null) return globalThis.fetch;
  return (input, init) => {
    const headers = new Headers(init?.headers);
    if (!headers.has('traceparent')) headers.set('traceparent', traceparent);
    return globalThis.fetch(input, { ...init, headers });
  };
}
