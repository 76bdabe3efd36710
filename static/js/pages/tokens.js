/** The page of one's own API tokens. */
import { secretsPage } from "../parts/secrets.js";

secretsPage("/api/v1/tokens", {
  asked: ({ name, scope, days }) => ({ name, scope, days: Number(days) }),
  made: ({ token }) => ({ text: token, example: (address) => `curl ${address} -H "Authorization: Bearer ${token}"` }),
});
