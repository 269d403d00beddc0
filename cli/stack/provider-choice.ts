import type { ProviderSettings } from '../../infra/config/stack-config.js';

/** Where the turns of a local stack get their answers from. */
export type ProviderChoice =
  | { readonly kind: 'scripted'; readonly key: string; readonly model: string }
  | { readonly kind: 'provider'; readonly baseUrl: string; readonly key: string; readonly model: string };

const openAiBaseUrl = 'https://api.openai.com/v1';
const defaultModel = 'gpt-5.1-codex';

/**
 * A key or a base URL from the user means a real provider; neither means the scripted model server. A base URL alone
 * is a provider that asks for no key (a local model server).
 */
export function chooseProvider(settings: ProviderSettings): ProviderChoice {
  const { key, baseUrl, model } = settings;
  if (key === undefined && baseUrl === undefined) {
    return { kind: 'scripted', key: 'scripted-key', model: model ?? 'scripted-1' };
  }
  return {
    kind: 'provider',
    baseUrl: baseUrl ?? openAiBaseUrl,
    key: key ?? 'no-key',
    model: model ?? defaultModel,
  };
}
