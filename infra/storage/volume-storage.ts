import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { annotations, labels, managedBy } from '../../domain/kubernetes/labels.js';
import { volumeClaimManifest } from '../../domain/kubernetes/volume-claim.js';
import type { KubernetesSettings } from '../config/kubernetes-settings.js';
import { hasStatus, isRefused, reasonOf } from '../kubernetes/api-errors.js';
import type { Cluster } from '../kubernetes/cluster.js';
import {
  type MadePhase,
  type SessionStorage,
  StorageRefusedError,
  type VolumeLook,
} from './session-storage.js';

/** Whoever asks for a removal tries again. */
const defaultRemovalMs = 120_000;
const firstLookMs = 250;
const longestLookMs = 5_000;
/** Of pods that are named as users of a volume. */
const mostNamedPods = 5;

/** The part of a claim that counts here. */
const claimSchema = z.object({
  metadata: z.object({
    uid: z.string(),
    labels: z.record(z.string(), z.string()).default({}),
    annotations: z.record(z.string(), z.string()).default({}),
    deletionTimestamp: z.unknown().optional(),
  }),
  status: z.object({ phase: z.string().optional() }).optional(),
});
type Claim = z.infer<typeof claimSchema>;

export interface VolumeStorageOptions {
  readonly cluster: Pick<Cluster, 'core' | 'namespace'>;
  readonly claims: KubernetesSettings['storage'];
  /** Name of a session's claim, the same each time. */
  readonly claimName: (sessionId: string) => string;
  /** Of one try to see a claim gone. */
  readonly longestRemovalMs?: number;
}

/**
 * Sessions as volume claims of a cluster. A claim says in its annotations which session it is of, by id and generation: one of another session, or of a
 * former one of the same id, is never used and never removed. What becomes of the disk when a claim is removed is said by its storage class.
 */
export class VolumeStorage implements SessionStorage {
  readonly backend = 'pvc';
  readonly #cluster: VolumeStorageOptions['cluster'];
  readonly #claims: VolumeStorageOptions['claims'];
  readonly #claimName: VolumeStorageOptions['claimName'];
  readonly #longestRemovalMs: number;

  constructor({ cluster, claims, claimName, longestRemovalMs = defaultRemovalMs }: VolumeStorageOptions) {
    this.#longestRemovalMs = longestRemovalMs;
    this.#cluster = cluster;
    this.#claims = claims;
    this.#claimName = claimName;
  }

  async ensure(sessionId: string, generation: string): Promise<MadePhase> {
    const claim = (await this.#find(sessionId)) ?? (await this.#create(sessionId, generation));
    if (isLeaving(claim))
      throw new Error(`the volume ${this.#where(sessionId)} is being removed: wait until it is gone`);
    if (!isOf(claim, generation))
      throw new Error(`the volume ${this.#where(sessionId)} is of a former session of this id`);
    return claim.status?.phase === 'Bound' ? 'Bound' : 'Provisioning';
  }

  async measure(sessionId: string): Promise<VolumeLook> {
    const claim = await this.#find(sessionId);
    if (claim === undefined || claim.status?.phase === 'Lost') return { phase: 'Lost' };
    if (isLeaving(claim)) return { phase: 'Terminating' };
    return { phase: claim.status?.phase === 'Bound' ? 'Bound' : 'Provisioning' };
  }

  /** A claim that lost its disk, or that somebody has deleted, takes no runner any more. */
  async exists(sessionId: string): Promise<boolean> {
    const { phase } = await this.measure(sessionId);
    return phase === 'Bound' || phase === 'Provisioning';
  }

  async discard(sessionId: string, generation: string): Promise<void> {
    const claim = await this.#find(sessionId);
    if (claim === undefined || isLeaving(claim) || !isOf(claim, generation)) return;
    await this.#delete(sessionId, claim);
  }

  /** The cluster keeps a claim for as long as a pod uses it, so this waits for both. @throws Error naming those pods. */
  async removeDiscarded(sessionId: string, generation: string, signal?: AbortSignal): Promise<void> {
    const endAt = performance.now() + this.#longestRemovalMs;
    for (let waitMs = firstLookMs; ; waitMs = Math.min(waitMs * 2, longestLookMs)) {
      const claim = await this.#find(sessionId);
      if (claim === undefined || !isLeaving(claim) || !isOf(claim, generation)) return;
      if (performance.now() > endAt) throw new Error(await this.#whyItStays(sessionId));
      await pause(waitMs, undefined, { signal });
    }
  }

  /** Whose a claim is can be told, so that it goes with or without files. */
  async removeEmpty(sessionId: string, generation: string): Promise<boolean> {
    await this.discard(sessionId, generation);
    return true;
  }

  /** What a runner left lies on its volume, which nobody mounts but the next attempt: that one sends it (docs/adr/0024). */
  withSpill(): Promise<void> {
    return Promise.resolve();
  }

  async #create(sessionId: string, generation: string): Promise<Claim> {
    const { core, namespace } = this.#cluster;
    const body = volumeClaimManifest({
      name: this.#claimName(sessionId),
      namespace,
      sessionId,
      generation,
      ...this.#claims,
    });
    try {
      return claimSchema.parse(await core.createNamespacedPersistentVolumeClaim({ namespace, body }));
    } catch (error) {
      if (isRefused(error))
        throw new StorageRefusedError(
          `the cluster refuses the volume ${this.#where(sessionId)}: ${reasonOf(error)}`,
        );
      if (!hasStatus(error, 409)) throw this.#failed('making', sessionId, error);
    }
    const made = await this.#find(sessionId);
    if (made === undefined)
      throw new Error(`the volume ${this.#where(sessionId)} was made and removed by somebody else`);
    return made;
  }

  /** @throws Error for a claim of this name that is not the session's. */
  async #find(sessionId: string): Promise<Claim | undefined> {
    const { core, namespace } = this.#cluster;
    const name = this.#claimName(sessionId);
    let claim: Claim;
    try {
      claim = claimSchema.parse(await core.readNamespacedPersistentVolumeClaim({ namespace, name }));
    } catch (error) {
      if (hasStatus(error, 404)) return undefined;
      throw this.#failed('looking at', sessionId, error);
    }
    const { labels: labelled, annotations: annotated } = claim.metadata;
    if (labelled[labels.managedBy] !== managedBy || annotated[annotations.session] !== sessionId)
      throw new Error(`the volume ${this.#where(sessionId)} was not made for this session: it is left alone`);
    return claim;
  }

  async #delete(sessionId: string, { metadata: { uid } }: Claim): Promise<void> {
    const { core, namespace } = this.#cluster;
    const name = this.#claimName(sessionId);
    try {
      await core.deleteNamespacedPersistentVolumeClaim({ namespace, name, body: { preconditions: { uid } } });
    } catch (error) {
      // Gone, or another one by now.
      if (!hasStatus(error, 404, 409)) throw this.#failed('removing', sessionId, error);
    }
  }

  async #whyItStays(sessionId: string): Promise<string> {
    const { core, namespace } = this.#cluster;
    const labelSelector = `${labels.volume}=${this.#claimName(sessionId)}`;
    const { items } = await core.listNamespacedPod({ namespace, labelSelector, limit: mostNamedPods });
    const users = items.map(({ metadata }) => metadata?.name ?? '').filter((name) => name !== '');
    const why =
      users.length === 0
        ? 'look at its finalizers and at its storage class'
        : `it is used by ${users.join(', ')}`;
    return `the volume ${this.#where(sessionId)} is not gone after ${this.#longestRemovalMs} ms: ${why}`;
  }

  #where(sessionId: string): string {
    return `${this.#cluster.namespace}/${this.#claimName(sessionId)}`;
  }

  #failed(step: string, sessionId: string, error: unknown): Error {
    return new Error(`${step} the volume ${this.#where(sessionId)} failed: ${reasonOf(error)}`);
  }
}

const isLeaving = (claim: Claim): boolean => claim.metadata.deletionTimestamp !== undefined;

const isOf = (claim: Claim, generation: string): boolean =>
  claim.metadata.annotations[annotations.generation] === generation;
