import { z } from 'zod';

/** Origins as browsers send them, divided by commas. */
export const originsSetting = z.string().transform((text, context): readonly string[] => {
  const origins = text
    .split(',')
    .map((origin) => origin.trim())
    .filter((origin) => origin !== '');
  for (const origin of origins) {
    if (/^https?:/.test(origin) && URL.canParse(origin) && new URL(origin).origin === origin) continue;
    context.addIssue({
      code: 'custom',
      message: 'expected origins such as https://console.example, without a path, divided by commas',
    });
    return z.NEVER;
  }
  return origins;
});
