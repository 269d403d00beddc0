import { describe, expect, it } from 'vitest';
import { chooseLayout } from './layout.js';

const none = () => false;

describe('chooseLayout', () => {
  it('gives a folder the same names and addresses each time, and another folder others', () => {
    const first = chooseLayout('/work/one/.cluster', none);
    expect(chooseLayout('/work/one/.cluster/', none)).toEqual(first);
    const second = chooseLayout('/work/two/.cluster', none);
    for (const name of ['name', 'hostAddress', 'podRange', 'serviceRange', 'kubeconfig'] as const) {
      expect(second[name]).not.toBe(first[name]);
    }
  });

  it('takes the next network when another cluster has the wanted one', () => {
    const wanted = chooseLayout('/work/one/.cluster', none).hostAddress.replace('.0.1', '');
    const layout = chooseLayout('/work/one/.cluster', (network) => network === wanted);
    expect(layout.hostAddress).not.toMatch(wanted);
    expect(layout.podRange).not.toMatch(wanted);
    expect(layout.name).toBe(chooseLayout('/work/one/.cluster', none).name);
  });

  it('gives up when all networks are taken', () => {
    expect(() => chooseLayout('/work/one/.cluster', () => true)).toThrow('in use');
  });

  it('names an interface that the kernel takes: at most 15 characters', () => {
    expect(chooseLayout(`/a-very-long-folder-name/${'x'.repeat(200)}`, none).name.length).toBeLessThanOrEqual(
      15,
    );
  });
});
