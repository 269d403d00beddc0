import { condition, defineSignal, defineUpdate, setHandler } from '@temporalio/workflow';

export const touch = defineUpdate<string>('touch');
export const leave = defineSignal('leave');

/** The least that an Update can be made to: the baseline of the steer bench. */
export async function trivialWorkflow(): Promise<void> {
  let isOver = false;
  setHandler(touch, () => 'touched');
  setHandler(leave, () => {
    isOver = true;
  });
  await condition(() => isOver);
}
