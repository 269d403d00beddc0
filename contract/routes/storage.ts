import { routeContract } from '../route-contract.js';
import {
  evictedStorageSchema,
  refreshedStorageSchema,
  refreshStorageSchema,
  storageGcSchema,
  storageSummarySchema,
} from '../storage.js';
import { sessionParams } from './sessions.js';

const tag = 'storage';

/** Session storage (contract.md 3.9). The work is done by the workflow `sessionStorage/<sessionId>`: the API has no rights on volumes. */
export const storageRoutes = {
  getStorage: routeContract({
    method: 'get',
    path: '/api/v1/sessions/:sessionId/storage',
    tag,
    summary: 'The storage of a session as it was last looked at.',
    auth: { api: 'read' },
    params: sessionParams,
    data: storageSummarySchema,
  }),
  evictStorage: routeContract({
    method: 'delete',
    path: '/api/v1/sessions/:sessionId/storage',
    tag,
    summary:
      'Deletes the volume and keeps the record, which is `evicted` for good; 409 while a turn is active.',
    auth: { api: 'operate' },
    params: sessionParams,
    data: evictedStorageSchema,
    failures: ['session-busy'],
  }),
  refreshStorage: routeContract({
    method: 'post',
    path: '/api/v1/sessions/:sessionId/storage/refresh',
    tag,
    summary: 'Looks at the volume anew: phase, size, files and hash.',
    auth: { api: 'operate', run: true },
    params: sessionParams,
    body: refreshStorageSchema,
    data: refreshedStorageSchema,
    failures: ['conflict', 'fenced', 'session-store-evicted'],
  }),
  collectStorage: routeContract({
    method: 'post',
    path: '/api/v1/sessions/storage/gc',
    tag,
    summary: 'One cycle: evicts the storage of sessions that have expired and have no active turn.',
    auth: { api: 'admin' },
    data: storageGcSchema,
  }),
};
