// This visitor's ids, for your server: docs/checkout.md
{
	const TOOLS = [
		['amplitude_device_id', 'amplitude', t => t.getDeviceId()],
		['amplitude_session_id', 'amplitude', t => t.getSessionId()],
		['segment_anonymous_id', 'analytics', t => t.user().anonymousId()],
		['mixpanel_device_id', 'mixpanel', t => t.get_property('$device_id')],
		['posthog_distinct_id', 'posthog', t => t.get_distinct_id()],
		['posthog_session_id', 'posthog', t => t.get_session_id()],
	];
	const safe = act => { try { return act(); } catch { return ''; } };
	const sleep = ms => new Promise(done => setTimeout(done, ms));
	const word = it => ({ true: 'granted', false: 'denied' })[it] || it;
	const text = it => typeof it === 'string' || it > 0 ? `${it}` : '';
	const bare = url => url.split(/[?#]/)[0];
	const cookie = name => safe(() => `; ${document.cookie}`.split(`; ${name}=`)[1].split(';')[0]);

	// How the visit began; kept in this tab if that is allowed.
	const touch = keep => {
		const now = { landing_page: bare(location.href), referrer: bare(document.referrer) };
		if (now.referrer.startsWith(`${location.origin}/`)) delete now.referrer;
		for (const [name, value] of new URL(location).searchParams)
			if (/^utm_/.test(name)) now[name] = value;
		return safe(() => {
			if (keep) return JSON.parse(sessionStorage.bridge_ids ??= JSON.stringify(now));
			delete sessionStorage.bridge_ids;
		}) || now;
	};

	window.BridgeIds = { async collect(options) {
		const { consent = {}, timeoutMs = 800, ga, ...own } = options || {};
		let over;
		const late = sleep(timeoutMs).then(() => { over = true; });
		const asked = (async () => consent.call ? consent() : consent)().catch(() => 0);
		const said = await Promise.race([asked, late]); // nothing: no tool is read
		const { at = Date.now() / 1000, region } = said || {};
		const told = word(said?.analytics);
		const ads = word(said?.ads) === 'granted' && !navigator.globalPrivacyControl;
		const ids = { event_id: safe(() => crypto.randomUUID()) };
		ids.consent = (told ? `analytics=${told},` : '') + `ads=${word(ads)}` +
			`,at=${Math.floor(at)}` + (region ? `,region=${region}` : '');
		if (ads) ids.fbp = cookie('_fbp'), ids.fbc = cookie('_fbc');
		const began = touch(told === 'granted');
		if (said && told !== 'denied') {
			Object.assign(ids, began);
			// Google's cookies; in a version unknown here nothing is guessed.
			ids.ga_client_id = /^GA1\.[^.]+\.(\d+\.\d+)$/.exec(cookie('_ga'))?.[1];
			ids.ga_session_id = /^GS(1\.[^.]+\.|2\.[^.]+\.(.*\$)?s)(\d+)\b/
				.exec(cookie('_ga_' + String(ga).slice(2)))?.[3];
			const ask = async ([name, global, read]) => {
				while (!over) {
					const tool = safe(() => own[global] || window[global]);
					if (safe(() => !tool || tool.nodeType)) return;
					if (ids[name] = safe(() => text(read(tool)))) return;
					await Promise.race([sleep(40), late]);
				}
			};
			await Promise.all(TOOLS.map(ask));
		}
		for (const name in ids) if (!ids[name]) delete ids[name];
		return ids;
	} };
}
