import { defineConfig } from 'drizzle-kit'

export default defineConfig({
  dialect: 'sqlite',
  schema: './services/mail/store/schema/auth.ts',
  out: './migrations/auth',
})
