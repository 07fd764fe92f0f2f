// Stands where your tools' own snippets are: the calls and cookies of Amplitude, PostHog, Google
// Analytics and Meta, and nothing sent. What they would have sent is in sessionStorage.pretend_sent.
(() => {
  const now = Date.now();
  const keep = (store, name, make) => store[name] ??= make();
  const sent = (tool, ...what) => {
    const list = JSON.parse(sessionStorage.pretend_sent || '[]');
    sessionStorage.pretend_sent = JSON.stringify([...list, [tool, ...what]]);
  };
  const device = keep(localStorage, 'pretend_device', () => crypto.randomUUID());
  const session = Number(keep(sessionStorage, 'pretend_session', () => now));
  window.amplitude = {
    getDeviceId: () => device,
    getSessionId: () => session,
    track: (name) => sent('amplitude', name, { device_id: device, session_id: session }),
  };
  window.posthog = { get_distinct_id: () => `ph-${device}`, get_session_id: () => `ph-${session}` };
  window.fbq = (...what) => sent('meta', ...what);
  const cookie = (name, value) => {
    if (!document.cookie.includes(`${name}=`)) document.cookie = `${name}=${value}; path=/; SameSite=Lax`;
  };
  const seconds = Math.floor(now / 1000);
  cookie('_ga', `GA1.1.1162820436.${seconds}`);
  cookie('_ga_EXAMPLE', `GS2.1.s${seconds}$o1$g0$t${seconds}$j60$l0$h0`);
  cookie('_fbp', `fb.0.${now}.1234567890`);
  amplitude.track('page_view');
})();
