import { openApiDocument } from '../../api/openapi/document.js';

/** The committed copy of the OpenAPI document, below the root of the package. */
export const openApiFile = 'docs/openapi.json';

/** The text of `docs/openapi.json`: what an API without a public address serves at `/openapi.json`, in lines. */
export const openApiText = (): string => `${JSON.stringify(openApiDocument(undefined), undefined, 2)}\n`;
