/** Tokens of one model request as the provider counted them. */
export interface ObservedUsage {
  readonly inputTokens: number;
  readonly cachedInputTokens: number;
  readonly outputTokens: number;
  readonly reasoningOutputTokens: number;
  readonly totalTokens: number;
}

/** What the proxy saw of one request to the provider: the true status, whatever the agent says of it. */
export interface ProxyObservation {
  readonly path: string;
  /** Status of the provider's answer; null when there was none. */
  readonly status: number | null;
  readonly model: string | null;
  readonly usage: ObservedUsage | null;
  /** `error.code`, or else `error.type`, of an error body or of a failed response in the stream. */
  readonly errorCode: string | null;
  /** The provider's own words, at most 2,000 characters; may repeat a secret: redact before storing. */
  readonly errorMessage: string | null;
  /** When the provider's limit is reset (epoch milliseconds), from the error itself, Retry-After or x-ratelimit-reset headers. */
  readonly resetAtMs: number | null;
  readonly ended:
    | 'complete'
    | 'upstream-lost'
    | 'upstream-silent'
    | 'client-left'
    | 'refused-by-proxy'
    | 'unreachable';
  readonly durationMs: number;
}
