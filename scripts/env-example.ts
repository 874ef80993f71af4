/**
 * Writes `.env.example` from the table in shared/env.ts. Run it after a change of that table:
 *   npx node scripts/env-example.ts
 * It reads no environment and knows no variable by name.
 */
import { writeFileSync } from 'node:fs'
import { ENV } from '#shared/env.ts'

const HEADER = `# Every variable of mail-sync. Made by scripts/env-example.ts, not edited by hand.
# Copy it to .env, which npm start, npm run http and npm run mailctl read when it is there. A variable that is
# commented out has the value shown, or none. An empty value counts as unset.
# Who reads it: mail = npm start, http = npm run http, cli = npm run mailctl.
# Needed: BETTER_AUTH_JWKS_URL, and client id and secret of one provider. Everything else may stay as it is.
`

/** The whole file, from the table alone: the same table gives the same bytes. */
export const envExample = (): string =>
  [
    HEADER,
    ...Object.entries(ENV).map(
      ([name, { doc, programs, fallback }]) => `# ${doc} (${programs.join(', ')})\n# ${name}=${fallback ?? ''}\n`,
    ),
  ].join('\n')

if (import.meta.main) writeFileSync(new URL('../.env.example', import.meta.url), envExample())
