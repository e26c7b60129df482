// Calls to the studio's own server, and nothing else.

export class ApiError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `The server answered ${status}.`);
    this.status = status;
    this.code = body?.error?.code ?? null;
    this.current = body?.current ?? null;
  }
}

/** Whether somebody else has changed the thing meanwhile. */
export const isConflict = (error) => error instanceof ApiError && error.status === 409;

/** Whether the project has no model that could suggest anything, now or later. */
export const isWithoutModel = (error) => error instanceof ApiError && error.code === "no_model";

async function call(method, path, body) {
  let response;
  try {
    response = await fetch(`/studio/${path}`, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new ApiError(0, { error: { message: "The studio does not answer. Is it still running?" } });
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, answer);
  return answer;
}

export const get = (path) => call("GET", `api/${path}`);
export const post = (path, body) => call("POST", `api/${path}`, body);
export const put = (path, body) => call("PUT", `api/${path}`, body);
export const remove = (path) => call("DELETE", `api/${path}`);

/** Trade the one-time code in the address for a cookie. */
export async function enter() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return;
  history.replaceState(null, "", location.pathname);
  await call("POST", "session", { code }).catch(async (error) => {
    await get("project").catch(() => {
      throw error;
    });
  });
}
