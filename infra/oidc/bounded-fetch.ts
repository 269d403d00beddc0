const limitBytes = 262_144;

/**
 * A GET whose body is read whole, up to 256 KiB, and which follows no redirect: an issuer's documents are small and where they are said to be.
 *
 * @throws Error when there is no answer within `timeoutMs`, or a larger one.
 */
export async function boundedGet(
  url: string,
  options: { readonly timeoutMs: number; readonly headers?: Headers },
): Promise<Response> {
  const response = await fetch(url, {
    redirect: 'error',
    signal: AbortSignal.timeout(options.timeoutMs),
    headers: options.headers ?? { accept: 'application/json' },
  });
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const body: AsyncIterable<Uint8Array> | null = response.body;
  for await (const chunk of body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > limitBytes) throw new Error(`the answer is larger than ${limitBytes} bytes`);
    chunks.push(chunk);
  }
  return new Response(Buffer.concat(chunks), { status: response.status });
}
