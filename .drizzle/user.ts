/** drizzle-kit: writes migrations/user/ from the schema. */
import { defineConfig } from 'drizzle-kit'

export default defineConfig({
  dialect: 'sqlite',
  schema: './services/mail/store/schema/user.ts',
  out: './migrations/user',
})
