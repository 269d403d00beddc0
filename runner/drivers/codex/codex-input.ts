import { type CommandPayload, payloadText } from '../../../contract/commands.js';

export type CodexInput =
  | { readonly type: 'text'; readonly text: string; readonly text_elements: readonly [] }
  | { readonly type: 'image'; readonly url: string }
  | { readonly type: 'localImage'; readonly path: string };

/** A command's payload as the input of `turn/start` and `turn/steer`: the prompt, or else the input list. */
export function codexInput(payload: CommandPayload): CodexInput[] {
  if (payload.input === undefined || (payload.prompt?.trim() ?? '') !== '') {
    return [{ type: 'text', text: payloadText(payload), text_elements: [] }];
  }
  return payload.input.map((item): CodexInput => {
    if (item.type === 'text') return { type: 'text', text: item.text, text_elements: [] };
    return item.type === 'image' ? { type: 'image', url: item.url } : { type: 'localImage', path: item.path };
  });
}
