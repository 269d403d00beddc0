/**
 * What the docs page may load: its own script, styles and pictures. Swagger UI draws its icons as `data:` images and sets styles of elements by script,
 * which needs no exception.
 */
export const docsPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The docs page. `folder` leads from its address to its files: it is asked for with and without a slash at the end, behind any prefix. */
export function docsPage(folder: '' | 'docs/'): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>AgentRun API</title>
<link rel="icon" type="image/png" href="${folder}favicon-32x32.png">
<link rel="stylesheet" href="${folder}swagger-ui.css">
</head>
<body>
<noscript>This page needs JavaScript. The document that it shows is <a href="${folder === '' ? '../' : ''}openapi.json">openapi.json</a>.</noscript>
<div id="docs"></div>
<script src="${folder}swagger-ui-bundle.js"></script>
<script src="${folder}docs.js"></script>
</body>
</html>
`;
}

/** Shows the document that lies beside the folder of this script. Tokens are asked for again on each visit: none is stored. */
export const docsScript = `SwaggerUIBundle({
  url: new URL('../openapi.json', document.currentScript.src).href,
  dom_id: '#docs',
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  filter: true,
  persistAuthorization: false,
  validatorUrl: null,
});
`;
