import type { StoragePlace } from '../infra/config/kubernetes-settings.js';
import { volumeClaimName } from './volume-names.js';

export type { StoragePlace } from '../infra/config/kubernetes-settings.js';

export const directories: StoragePlace = { backend: 'directory' };

/** What the record of a session says about its storage. A directory has a name for its volume too, which is a name only. */
export function storageColumns(
  sessionId: string,
  place: StoragePlace,
): { readonly backend: string; readonly pvcName: string; readonly namespace: string | null } {
  if (place.backend === 'directory')
    return { backend: place.backend, pvcName: `agentrun-session-${sessionId}`, namespace: null };
  return { backend: place.backend, pvcName: volumeClaimName(sessionId), namespace: place.namespace };
}
