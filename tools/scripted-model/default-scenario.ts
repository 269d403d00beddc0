import type { ScenarioInput } from './scenario.js';

/**
 * Answers any prompt that names no scenario: says what it is, lists the files, runs a harmless command slowly enough
 * to be steered, and repeats each message it got in the turn, so a steer is visible in the answer. About 4 s.
 */
export const defaultScenario: ScenarioInput = {
  name: 'default',
  description:
    'Any prompt without a marker: lists the files, counts to six in 3 s, repeats the messages of the turn.',
  steps: [
    {
      reasoning: 'No scenario is named in the prompt, so the default one answers.',
      text:
        'I am a scripted model: AgentRun plays prepared answers here, no real model reads your prompt. ' +
        'First I list the files of the workspace.',
      toolCalls: [{ cmd: 'ls -la' }],
      firstTokenMs: 100,
      deltas: 8,
      deltaMs: 15,
    },
    {
      text: 'Now a harmless command that takes about three seconds, so that you can send a message while it runs.',
      toolCalls: [{ cmd: 'for i in 1 2 3 4 5 6; do echo "step $i"; sleep 0.5; done' }],
      firstTokenMs: 100,
      deltas: 8,
      deltaMs: 15,
    },
    {
      text:
        'Done. The last command ended with exit code {{lastExitCode}}. ' +
        'In this turn I received these messages:\n{{turnUserMessages}}',
      firstTokenMs: 100,
      deltas: 12,
      deltaMs: 15,
    },
  ],
};
