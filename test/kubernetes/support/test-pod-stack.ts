import { builtImages } from '../../support/built-images.js';
import type { TestCluster } from '../../support/cluster.js';
import { type PodStack, type PodStackSettings, startPodStack } from '../../support/pod-stack.js';

/** Images are built first where they changed. */
export const prepareStackMs = 1_200_000;

/** A stack in a namespace of its own, with the image of the sources as they are. */
export async function startTestPodStack(
  cluster: TestCluster,
  name: string,
  settings: Partial<PodStackSettings> = {},
): Promise<PodStack> {
  const { runner } = await builtImages();
  await cluster.own?.importImage(runner.archive);
  return startPodStack(() => undefined, {
    cluster: await cluster.makeNamespace(name, { 'pod-security.kubernetes.io/enforce': 'restricted' }),
    kubeconfig: cluster.kubeconfig,
    hostAddress: cluster.hostAddress,
    image: runner.image,
    ...settings,
  });
}
