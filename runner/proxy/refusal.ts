import type { ServerResponse } from 'node:http';

/** An error of the proxy in the shape of the Responses API, so that the agent shows its text. */
export function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  const body = JSON.stringify({
    error: { message: `AgentRun proxy: ${message}`, type: 'agentrun_proxy_error', param: null, code },
  });
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}
